"""What does a character look like in a face, at 32 x 32?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.progress import ProgressCallback
from benchmarks.prepare.disk import require_space
from benchmarks.prepare.font_faces import Face
from benchmarks.prepare.workers import mapped

SIDE = 32  # pixels
FONT_SIZE = 22  # pixels per em
BASELINE = 23  # pixels from the top
FAINTEST_INK = 64  # of 255: an image without a pixel this dark shows nothing
FEWEST_GLYPHS = 20  # a face with fewer of the classes is left out: symbol fonts that hold a stray letter
UNASSIGNED = 0x10FFFF  # a noncharacter, which no face may have: drawn as the face's sign for a missing glyph

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FaceGlyphs:
    """The characters to draw of one face; whether one is left out that looks just like an earlier one."""

    file: str
    number: int
    codepoints: Sequence[int]
    distinct: bool = True


def draw_face(glyphs: FaceGlyphs) -> tuple[list[int], Pixels]:
    """The codepoints that show something, and their images: ink 255 on 0, uint8 (characters, 32, 32).

    The face's sign for a missing glyph ("tofu") and blanks are left out.
    """
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(glyphs.file, FONT_SIZE, index=glyphs.number, layout_engine=ImageFont.Layout.BASIC)
        unwanted = {_draw(font, UNASSIGNED).tobytes()}
    except (OSError, ValueError):  # FreeType cannot use the face
        return [], np.empty((0, SIDE, SIDE), np.uint8)
    codepoints, images = [], []
    for codepoint in glyphs.codepoints:
        try:
            image = _draw(font, codepoint)
        except (OSError, ValueError):  # a broken outline
            continue
        if image.max() >= FAINTEST_INK and image.tobytes() not in unwanted:
            if glyphs.distinct:
                unwanted.add(image.tobytes())
            codepoints.append(codepoint)
            images.append(image)
    return codepoints, np.array(images, np.uint8).reshape(-1, SIDE, SIDE)


def _draw(font: Any, codepoint: int) -> Pixels:
    from PIL import Image, ImageDraw

    image = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(image).text((SIDE // 2, BASELINE), chr(codepoint), font=font, fill=255, anchor="ms")
    return np.asarray(image)


def draw_glyphs(
    fonts: Path,
    faces: Sequence[Face],
    classes: npt.NDArray[np.int32],
    pixels_file: Path,
    progress: ProgressCallback,
    *,
    workers: int = 2,
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
    """Draw every class in every face that has it; label (place in `classes`) and face of each image.

    The images are written to `pixels_file`, a .npy file of uint8 (rows, 32, 32) whose last rows may be unused.
    """
    label_of = {int(codepoint): label for label, codepoint in enumerate(classes)}
    drawn = [(number, np.intersect1d(face.codepoints, classes).tolist()) for number, face in enumerate(faces)]
    drawn = [(number, codepoints) for number, codepoints in drawn if len(codepoints) >= FEWEST_GLYPHS]
    tasks = [FaceGlyphs(str(fonts / faces[number].file), faces[number].number, points) for number, points in drawn]
    total = sum(len(task.codepoints) for task in tasks)
    require_space(pixels_file.parent, total * SIDE * SIDE, "drawing the glyphs")
    pixels = np.lib.format.open_memmap(pixels_file, "w+", np.uint8, (total, SIDE, SIDE))
    labels = np.empty(total, np.int16)
    face_numbers = np.empty(total, np.int32)
    end = asked = 0
    results = mapped(draw_face, tasks, workers)
    for task, (number, _), (codepoints, images) in zip(tasks, drawn, results, strict=True):
        rows = slice(end, end + len(codepoints))
        pixels[rows] = images
        labels[rows] = [label_of[codepoint] for codepoint in codepoints]
        face_numbers[rows] = number
        end += len(codepoints)
        asked += len(task.codepoints)
        progress("draw glyphs", asked, total)
    pixels.flush()
    return labels[:end], face_numbers[:end]
