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
from benchmarks.prepare.disk import require_space

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
    *,
    copies: int = 0,
    seed: int = 0,
) -> None:
    """Write the images and labels of `rows`, in their order, as one side of the split.

    With `copies`, each image is followed by so many distorted copies of it, and all are shuffled.
    """
    order = np.arange(len(rows) * (1 + copies))
    if copies:
        order = np.random.default_rng(seed).permutation(order)
    sources, is_copy = rows[order % len(rows)], order >= len(rows)
    with whole(folder / f"{side}_labels.npy") as file:
        np.save(file, labels[sources].astype(np.int16))
    with whole(folder / f"{side}_images.npy") as file:
        require_space(folder, len(sources) * pixels[0].size, f"the {side} images")
        images = np.lib.format.open_memmap(file, "w+", np.uint8, (len(sources), *pixels.shape[1:]))
        for start in range(0, len(sources), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            images[part] = pixels[sources[part]]
            if is_copy[part].any():
                images[part][is_copy[part]] = _distorted(images[part][is_copy[part]], seed + start)
            progress(f"write {side} images", start, len(sources))
        images.flush()


def _distorted(pixels: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    import torch  # here, so that only data sets with copies need it for their images

    from benchmarks.prepare.image_network import distorted

    ink = distorted(torch.from_numpy(pixels), torch.Generator().manual_seed(seed))
    return np.asarray((ink * 255.0).round().to(torch.uint8).numpy())


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Write what the labels show."""
    with whole(folder / "class_names.json") as file:
        file.write_text(json.dumps(list(names), ensure_ascii=False), encoding="utf-8")


def read_side(folder: Path, side: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Images, memory-mapped, and labels of one side."""
    return np.load(folder / f"{side}_images.npy", mmap_mode="r"), np.load(folder / f"{side}_labels.npy")
