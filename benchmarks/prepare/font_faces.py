"""Which faces do the font files hold, of which families, for which characters?"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.progress import ProgressCallback
from benchmarks.prepare.font_packages import FONT_SUFFIXES
from benchmarks.prepare.workers import mapped

FULL_NAME, FAMILY, TYPOGRAPHIC_FAMILY = 4, 1, 16  # numbers in OpenType's name table

# Words that say how a face of a family is drawn. Many name tables put them into the family for want of nameID 16.
_STYLE_WORDS = re.compile(
    r"\b(thin|hairline|(extra|ultra|semi|demi)?[ -]?(light|bold|black|condensed|expanded)|book|regular|normal|roman"
    r"|medium|demi|heavy|fat|italic|oblique|slanted|upright|narrow|wide|compressed|caps|small|swash|display|caption"
    r"|text|subhead|w\d+|\d+(pt)?)\b"
)


@dataclass(frozen=True)
class Face:
    """One face: its file, its number there, full name and normalised family, int32 codepoints that it has."""

    file: str
    number: int
    name: str
    family: str
    codepoints: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Faces:
    """The faces kept, and how many were not, by reason."""

    kept: list[Face]
    left_out: dict[str, int]


def normalised_family(name: str) -> str:
    """A family's name without style words, case, blanks and signs: `Lato Black` and `Lato` are `lato`.

    A trailing size goes too (`LM Roman 10`, `LMRoman12`): these are one design. Where that says too much, two families
    are taken for one, which a split by family can bear.
    """
    folded = unicodedata.normalize("NFKC", name).casefold().replace("_", " ")
    shorter = _STYLE_WORDS.sub(" ", folded)
    for text in (shorter, folded):
        letters = re.sub(r"[\W_]+", "", text)
        family = re.sub(r"\d+$", "", letters) or letters
        if family:
            return family
    return folded


def read_faces(folder: Path, progress: ProgressCallback, *, workers: int = 2) -> Faces:
    """The faces of all fonts below `folder`; colour fonts and a full name's second and later faces are left out.

    Of faces with one full name the one with the most characters is kept. Order: most characters first.
    """
    files = [
        str(file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in FONT_SUFFIXES and not file.is_symlink()
    ]
    left_out = {"unreadable files": 0, "colour faces": 0, "faces without characters": 0, "faces of a known name": 0}
    found: list[Face] = []
    for done, result in enumerate(mapped(_read_file, [(str(folder), file) for file in files], workers), start=1):
        if result is None:
            left_out["unreadable files"] += 1
            continue
        for face, colour in result:
            if colour:
                left_out["colour faces"] += 1
            elif not len(face.codepoints):
                left_out["faces without characters"] += 1
            else:
                found.append(face)
        progress("read faces", done, len(files))
    kept: dict[str, Face] = {}
    for face in sorted(found, key=lambda face: (-len(face.codepoints), face.file, face.number)):
        kept.setdefault(face.name.casefold(), face)
    left_out["faces of a known name"] = len(found) - len(kept)
    return Faces(list(kept.values()), left_out)


def save_faces(file: Path, faces: Sequence[Face]) -> None:
    """Write faces as one .npz file."""
    np.savez(
        file,
        files=np.array([face.file for face in faces]),
        numbers=np.array([face.number for face in faces]),
        names=np.array([face.name for face in faces]),
        families=np.array([face.family for face in faces]),
        ends=np.cumsum([len(face.codepoints) for face in faces]),
        codepoints=np.concatenate([face.codepoints for face in faces]),
    )


def load_faces(file: Path) -> list[Face]:
    """What `save_faces` wrote."""
    with np.load(file) as arrays:
        columns: Iterable[Any] = zip(
            *(arrays[name].tolist() for name in ("files", "numbers", "names", "families")),
            np.split(arrays["codepoints"], arrays["ends"][:-1]),
            strict=True,
        )
        return [Face(*column) for column in columns]


def _read_file(task: tuple[str, str]) -> list[tuple[Face, bool]] | None:
    """The faces of one file, each with whether it is in colour; None if the file cannot be read."""
    from fontTools.ttLib import TTCollection, TTFont

    folder, file = task
    logging.getLogger("fontTools").setLevel(logging.CRITICAL)  # it warns of harmless oddities, by the thousand
    path = Path(folder) / file
    try:
        with path.open("rb") as stream:
            collection = path.suffix.lower() == ".ttc"
            fonts = TTCollection(stream, lazy=True).fonts if collection else [TTFont(stream, lazy=True)]
            return [_read_face(font, file, number) for number, font in enumerate(fonts)]
    except Exception:  # damaged fonts raise errors of every kind
        return None


def _read_face(font: Any, file: str, number: int) -> tuple[Face, bool]:
    names = font["name"]
    full_name = names.getDebugName(FULL_NAME) or file
    family = names.getDebugName(TYPOGRAPHIC_FAMILY) or names.getDebugName(FAMILY) or full_name
    codepoints = np.array(sorted(font.getBestCmap() or {}), np.int32)
    return Face(file, number, full_name, normalised_family(family), codepoints), "CBDT" in font or "COLR" in font
