"""Which characters are the classes?

The most widespread letters, digits, signs and symbols of all scripts; then kana, Han and Hangul, of which fonts have
thousands. Characters that most faces draw alike (Latin A, Greek Alpha, Cyrillic A) are one class.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adanns.progress import ProgressCallback
from benchmarks.prepare.font_faces import Face
from benchmarks.prepare.glyph_images import FaceGlyphs, draw_face
from benchmarks.prepare.workers import mapped

EAST_ASIAN = ((0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3))  # kana, Han, Hangul: first and last codepoint
FEWEST_FACES = 100  # of a class that is not East Asian
WITNESSES = 12  # faces, for East Asian and for other characters, that are asked which characters look alike
ALIKE_COSINE = 0.98  # of the ink
SPARE_CANDIDATES = 1.25  # times as many as classes, since some are merged

Codepoints = npt.NDArray[np.int32]


def choose_classes(
    fonts: Path,
    faces: Sequence[Face],
    progress: ProgressCallback,
    *,
    classes: int,
    east_asian: int,
    fewest_faces: int = FEWEST_FACES,
    workers: int = 2,
) -> Codepoints:
    """The codepoints of the classes, those most widespread first; `east_asian` of them, or more, are East Asian."""
    codepoints, counts = np.unique(np.concatenate([face.codepoints for face in faces]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    codepoints, counts = codepoints[order], counts[order]
    shows_something = np.array([_shows_something(codepoint) for codepoint in codepoints.tolist()], bool)
    codepoints, counts = codepoints[shows_something], counts[shows_something]
    eastern = is_east_asian(codepoints)
    western = codepoints[~eastern & (counts >= fewest_faces)][: int(SPARE_CANDIDATES * (classes - east_asian))]
    # Western characters first: they win over the East Asian ones that look alike.
    candidates = np.concatenate([western, codepoints[eastern][: int(SPARE_CANDIDATES * classes) - len(western)]])
    distinct = without_look_alikes(fonts, faces, candidates, progress, workers=workers)
    western = distinct[~is_east_asian(distinct)][: classes - east_asian]
    return np.concatenate([western, distinct[is_east_asian(distinct)][: classes - len(western)]])


def is_east_asian(codepoints: Codepoints) -> npt.NDArray[np.bool_]:
    """Whether each is kana, Han or Hangul."""
    inside = [(codepoints >= first) & (codepoints <= last) for first, last in EAST_ASIAN]
    return np.asarray(np.logical_or.reduce(inside))


def _shows_something(codepoint: int) -> bool:
    """Neither mark, control, private, blank nor modifier letter."""
    category = unicodedata.category(chr(codepoint))
    return category[0] not in "MCZ" and category != "Lm"


def without_look_alikes(
    fonts: Path, faces: Sequence[Face], candidates: Codepoints, progress: ProgressCallback, *, workers: int = 2
) -> Codepoints:
    """The candidates without those that look like an earlier one, kept, in at least half of the faces with both."""
    eastern = is_east_asian(candidates)
    witnesses = {*_witnesses(faces, candidates[eastern]), *_witnesses(faces, candidates[~eastern])}
    place_of = {int(codepoint): place for place, codepoint in enumerate(candidates)}
    tasks = [
        FaceGlyphs(str(fonts / face.file), face.number, np.intersect1d(face.codepoints, candidates).tolist(), False)
        for face in (faces[number] for number in sorted(witnesses))
    ]
    shared = np.zeros((len(candidates), len(candidates)), np.int8)
    alike = np.zeros_like(shared)
    for done, (codepoints, images) in enumerate(mapped(draw_face, tasks, workers), start=1):
        if not codepoints:
            continue
        places = np.array([place_of[codepoint] for codepoint in codepoints], np.int64)
        ink = images.reshape(len(images), -1).astype(np.float32)
        ink /= np.linalg.norm(ink, axis=1, keepdims=True)
        pairs = np.ix_(places, places)
        shared[pairs] += 1
        alike[pairs] += ink @ ink.T > ALIKE_COSINE
        progress("compare characters", done, len(tasks))
    same = (alike > 0) & (2 * alike >= shared)
    kept: list[int] = []
    for place in range(len(candidates)):
        if not same[place, kept].any():
            kept.append(place)
    return candidates[kept]


def _witnesses(faces: Sequence[Face], candidates: Codepoints) -> list[int]:
    """The numbers of the faces with the most of the candidates, one a family."""
    having = np.array([np.isin(candidates, face.codepoints).sum() for face in faces])
    of_family: dict[str, int] = {}
    for number in np.argsort(-having, kind="stable").tolist():
        if having[number]:
            of_family.setdefault(faces[number].family, number)
    return list(of_family.values())[:WITNESSES]
