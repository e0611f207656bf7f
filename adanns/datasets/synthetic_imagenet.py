"""Synthetic vectors of ImageNet-1K's shape, for machines without the real ones: `load("synthetic-imagenet-1k")`.

1,281,167 database rows and 50,000 queries of 1,000 classes at 2048 dims, drawn so that exact 1-NN top-1 by dims follows
the published column of MRL; `synthetic_model` says how. No image was seen and nothing was learnt: accuracies on these
vectors say nothing about a model, only how an index treats data of this shape.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from adanns.datasets import array_folder
from adanns.datasets.cache import made_once
from adanns.datasets.dataset import Dataset
from adanns.datasets.synthetic_model import CHUNK_ROWS, DATABASE, DIMS, LADDER, QUERIES, Model, Part
from adanns.progress import Progress, ProgressCallback

NAME = "synthetic-imagenet-1k"
CACHE_NAME = f"{NAME}-1"  # the number changes with the recipe, so that no old copy is taken for a new one
ROWS, QUERY_ROWS = 1_281_167, 50_000
ABOUT = {
    "metric": "cosine",
    "source": "synthetic: drawn at random in ImageNet-1K's shape, 1-NN top-1 by dims as published for MRL",
    "licence": "Apache-2.0, as adanns itself",
    "synthetic": "true",
}


def load() -> Dataset:
    """Map the cached arrays, the rigid twin as `rigid[2048]`; made on first use, which takes minutes and 10.9 GB.

    OSError says so where the cache has no room for them.
    """
    return array_folder.load(made_once(CACHE_NAME, write), name=NAME)


def write(
    folder: Path,
    *,
    rows: int = ROWS,
    queries: int = QUERY_ROWS,
    model: Model | None = None,
    progress: bool | ProgressCallback | None = None,
) -> None:
    """Write the arrays as `array_folder` reads them; what an interrupted call has completed is kept.

    Fewer rows or queries are the first ones of all.
    """
    model = model or Model()
    _require_room(folder, rows + queries)
    parts = (("queries", "query_labels", QUERIES, queries), ("database", "database_labels", DATABASE, rows))
    with Progress(progress) as shown:
        for name, labels_name, part, count in parts:
            np.save(folder / f"{labels_name}.npy", model.labels(0, count).astype(np.int16))
            files = [folder / f"{name}.npy", folder / f"rigid-{DIMS}" / f"{name}.npy"]
            if not all(file.exists() for file in files):
                _write_vectors(files, model, part, count, shown)
    (folder / "ladder.json").write_text(json.dumps(LADDER), encoding="utf-8")
    (folder / "about.json").write_text(json.dumps(ABOUT), encoding="utf-8")


def _write_vectors(files: list[Path], model: Model, part: Part, rows: int, progress: Progress) -> None:
    """A part's vectors in the first file and their rigid twins in the second, float16."""
    unfinished = [file.with_suffix(".partial") for file in files]
    with ExitStack() as stack:
        streams = []
        for file in unfinished:
            file.parent.mkdir(exist_ok=True)
            streams.append(stack.enter_context(file.open("wb")))
            header = {"descr": "<f2", "fortran_order": False, "shape": (rows, DIMS)}
            np.lib.format.write_array_header_1_0(streams[-1], header)
        for first in range(0, rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, rows - first)
            vectors = model.chunk(part, first // CHUNK_ROWS, rows=count)
            for stream, chunk in zip(streams, (vectors, model.rotated(vectors)), strict=True):
                stream.write(chunk.astype("<f2").data)
            progress.step(f"draw {files[0].stem}", first + count, rows)
    for file, complete in zip(unfinished, files, strict=True):
        file.rename(complete)


def _require_room(folder: Path, rows: int) -> None:
    needed = 2 * rows * DIMS * np.dtype(np.float16).itemsize
    needed -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{NAME} needs {needed / 1e9:.1f} GB in {folder.parent}, where {free / 1e9:.1f} GB are free; "
            "make room or set ADANNS_CACHE to another folder"
        )
