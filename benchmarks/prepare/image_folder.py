"""Where do labelled, split images lie between drawing and training?

database_images.npy   uint8 (rows, 32, 32), ink 255 on 0        database_labels.npy   int16 (rows,)
query_images.npy      uint8 (queries, 32, 32)                   query_labels.npy      int16 (queries,)
class_names.json      what label i shows                        facts.json            see benchmarks.prepare.facts
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.progress import ProgressCallback

SIDES = ("database", "query")
ROWS_AT_ONCE = 8192


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A name to write to; it becomes `file` when all is written, so that `file` is whole wherever it exists."""
    unfinished = file.with_name(f".{file.name}")
    yield unfinished
    unfinished.replace(file)


def write_side(
    folder: Path,
    side: str,
    pixels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer[Any]],
    rows: npt.NDArray[np.int64],
    progress: ProgressCallback,
) -> None:
    """Write the images and labels of `rows`, in their order, as one side of the split."""
    with whole(folder / f"{side}_labels.npy") as file:
        np.save(file, labels[rows].astype(np.int16))
    with whole(folder / f"{side}_images.npy") as file:
        images = np.lib.format.open_memmap(file, "w+", np.uint8, (len(rows), *pixels.shape[1:]))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            images[start : start + ROWS_AT_ONCE] = pixels[rows[start : start + ROWS_AT_ONCE]]
            progress(f"write {side} images", start, len(rows))
        images.flush()


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Write what the labels show."""
    with whole(folder / "class_names.json") as file:
        file.write_text(json.dumps(list(names), ensure_ascii=False), encoding="utf-8")


def read_side(folder: Path, side: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Images, memory-mapped, and labels of one side."""
    return np.load(folder / f"{side}_images.npy", mmap_mode="r"), np.load(folder / f"{side}_labels.npy")
