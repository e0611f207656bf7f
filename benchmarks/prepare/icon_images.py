"""Which icons form the data set, and what do they look like at 32 x 32?

Reads the npm package `@iconify/json` (one JSON file of SVG bodies per icon set, each with its licence), keeps
permissively licensed sets or all, names a class by the icon's name without style affixes, and draws the icons of the
most widespread classes.
"""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.progress import Progress, ProgressCallback
from benchmarks.prepare.workers import mapped

PERMISSIVE_LICENCES = frozenset({"MIT", "Apache-2.0", "ISC", "CC0-1.0", "Unlicense", "BSD-3-Clause", "OFL-1.1"})
SIDE = 32  # pixels
BLANK_DEVIATION = 2.0  # of 255: an icon whose pixels vary less shows nothing

# Affixes that say how an icon is drawn, not what it shows; letters and numbers are short forms of some sets.
_STYLE_SUFFIX = re.compile(
    r"-(outlined?|line|linear|bold|fill|filled|solid|duotone|duo|thin|light|regular|rounded|round|sharp|two-?tone|broken"
    r"|alt|bulk|stroke|color|mini|remix|flat|sm|lg|md|rtl|variant|bf|bd|sl|tt|[iolsrbf]|\d+|\d+px|\d+-\w+)$"
)
_STYLE_PREFIX = re.compile(
    r"^(outline|baseline|sharp|round|twotone|solid|filled|line|icon|logo|bi|ic|ios|md|fa|fas|bxs?|bxl|il|sys|vs)-"
)


@dataclass(frozen=True)
class IconSet:
    """One icon set's name, origin and licence, as its authors state them."""

    prefix: str
    title: str
    author: str
    licence: str


@dataclass(frozen=True)
class IconImages:
    """Drawn icons: pixels uint8 (rows, 32, 32), 255 is the white background; label and set of each row."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int16]
    sets: npt.NDArray[np.int16]
    class_names: list[str]
    icon_sets: list[IconSet]


def class_name(icon_name: str) -> str:
    """The icon's name without style affixes: `sharp-arrow-left-outline-2` is an `arrow-left`."""
    while True:
        shorter = _STYLE_PREFIX.sub("", _STYLE_SUFFIX.sub("", icon_name))
        if shorter in ("", icon_name):
            return icon_name
        icon_name = shorter


def widespread_classes(names_by_set: Iterable[Iterable[str]], classes: int) -> list[str]:
    """The names that occur in the most icon sets, ties in alphabetical order."""
    sets_with_name: dict[str, int] = defaultdict(int)
    for names in names_by_set:
        for name in {class_name(name) for name in names}:
            sets_with_name[name] += 1
    return sorted(sets_with_name, key=lambda name: (-sets_with_name[name], name))[:classes]


def draw_icons(
    package: Path,
    *,
    classes: int,
    workers: int = 2,
    licences: frozenset[str] | None = PERMISSIVE_LICENCES,
    progress: bool | ProgressCallback | None = None,
) -> IconImages:
    """Draw every icon of the `classes` most widespread classes; exact duplicates and blank icons are left out.

    licences: of the sets that are used, SPDX names; None: all sets.
    """
    contents = [_read_set(file) for file in sorted((package / "json").glob("*.json"))]
    if licences is not None:
        contents = [content for content in contents if content["info"]["license"].get("spdx") in licences]
    class_names = widespread_classes([content["icons"] for content in contents], classes)
    label_of = {name: label for label, name in enumerate(class_names)}

    tasks = [[(label_of[class_name(name)], svg) for name, svg in _svgs(content, label_of)] for content in contents]
    shown = Progress(progress)
    drawn = []
    for result in mapped(_draw_set, tasks, workers, chunk=1):
        drawn.append(result)
        shown.step("draw icon sets", len(drawn), len(tasks))
    pixels = np.concatenate([pixels for pixels, _ in drawn])
    labels = np.concatenate([labels for _, labels in drawn])
    sets = np.repeat(np.arange(len(drawn), dtype=np.int16), [len(labels) for _, labels in drawn])

    flat = pixels.reshape(len(pixels), -1)
    _, first_of_kind = np.unique(flat, axis=0, return_index=True)
    kept = np.sort(first_of_kind[flat[first_of_kind].std(axis=1) > BLANK_DEVIATION])
    return IconImages(pixels[kept], labels[kept], sets[kept], class_names, [_icon_set(content) for content in contents])


def _read_set(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _icon_set(content: dict[str, Any]) -> IconSet:
    info = content["info"]
    licence = info["license"].get("spdx") or info["license"]["title"]
    return IconSet(content["prefix"], info["name"], info["author"]["name"], licence)


def _svgs(content: dict[str, Any], wanted: dict[str, int]) -> Iterable[tuple[str, str]]:
    """(name, SVG text) of a set's icons of the wanted classes. Sizes default to the set's, those to 16 x 16."""
    for name, icon in content["icons"].items():
        if icon.get("hidden") or class_name(name) not in wanted:
            continue
        width, height = (icon.get(side, content.get(side, 16)) for side in ("width", "height"))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        yield (
            name,
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" '
            f'width="{SIDE}" height="{SIDE}">{icon["body"].replace("currentColor", "#000")}</svg>',
        )


def _draw_set(icons: list[tuple[int, str]]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    import resvg_py  # here, so that naming classes needs no renderer
    from PIL import Image

    pixels, labels = [], []
    for label, svg in icons:
        try:
            png = resvg_py.svg_to_bytes(
                svg_string=svg, width=SIDE, height=SIDE, background="#ffffff", skip_system_fonts=True
            )
        except ValueError:  # SVG that the renderer does not accept: a handful in the whole package
            continue
        image = Image.open(io.BytesIO(bytes(png))).convert("L")
        pixels.append(np.asarray(image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE))))
        labels.append(label)
    return np.array(pixels, np.uint8).reshape(-1, SIDE, SIDE), np.array(labels, np.int16)
