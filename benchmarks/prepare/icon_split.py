"""Which icons are searched, and which are the queries?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adanns.progress import ProgressCallback
from benchmarks.prepare.icon_images import IconImages
from benchmarks.prepare.icon_report import nearest
from benchmarks.prepare.image_folder import write_class_names, write_side

HELD_OUT_SHARE = 0.12  # of the icons, in whole sets
NEAR_DUPLICATE_COSINE = 0.98  # of the ink: a query nearer than this to a database icon is dropped

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Rows of the database and of the queries, both shuffled, and how many queries were dropped as near-duplicates."""

    database: Rows
    queries: Rows
    near_duplicates: int


def split_by_set(images: IconImages, *, seed: int) -> Split:
    """Hold out whole sets in random order while they fit into HELD_OUT_SHARE; drop queries like a database row."""
    random = np.random.default_rng(seed)
    icons_in_set = np.bincount(images.sets, minlength=len(images.icon_sets))
    held_out: list[int] = []
    for icon_set in random.permutation(len(icons_in_set)):
        if icons_in_set[[*held_out, icon_set]].sum() <= HELD_OUT_SHARE * len(images.sets):
            held_out.append(icon_set)
    is_query = np.isin(images.sets, held_out)
    database, queries = random.permutation(np.flatnonzero(~is_query)), random.permutation(np.flatnonzero(is_query))
    ink = 255.0 - images.pixels.reshape(len(images.pixels), -1).astype(np.float32)
    kept = nearest(ink[queries], ink[database], 1)[0][:, 0] <= NEAR_DUPLICATE_COSINE
    return Split(database, queries[kept], int((~kept).sum()))


def write_images(folder: Path, images: IconImages, split: Split, progress: ProgressCallback | None = None) -> None:
    """Write both sides as a folder of images (see benchmarks.prepare.image_folder), ink 255 on 0."""
    ink = 255 - images.pixels
    for side, rows in (("database", split.database), ("query", split.queries)):
        write_side(folder, side, ink, images.labels, rows, progress or (lambda what, done, total: None))
    write_class_names(folder, images.class_names)
