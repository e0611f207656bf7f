"""Which images are searched, which are the queries, and which look too much alike to be both?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.progress import ProgressCallback
from benchmarks.prepare.glyph_images import Pixels

NEAR_DUPLICATE_COSINE = 0.98  # of the ink, between a query and a database image of its class

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """Rows of the database and of the queries, both shuffled; the families held out; what was dropped."""

    database: Rows
    queries: Rows
    query_families: list[str]
    exact_duplicates: int
    near_duplicates: int


def split_by_family(
    pixels: Pixels,
    labels: npt.NDArray[np.integer[Any]],
    families: Sequence[str],
    progress: ProgressCallback,
    *,
    candidates: int,
    largest_family: int,
    seed: int,
) -> Split:
    """Hold out whole families, `families` naming that of each row; drop duplicates.

    Families of at most `largest_family` images are held out in random order while they fit into `candidates` images.
    Of exact duplicates one image is kept, in the database if it is there. The same design is sold under many names,
    so queries that nearly equal a database image of their class are dropped too.
    """
    random = np.random.default_rng(seed)
    names, family_numbers, sizes = np.unique(np.array(families), return_inverse=True, return_counts=True)
    held_out: list[int] = []
    images_held_out = 0
    for family in random.permutation(len(names)).tolist():
        if sizes[family] <= largest_family and images_held_out + sizes[family] <= candidates:
            held_out.append(family)
            images_held_out += int(sizes[family])
    is_query = np.isin(family_numbers, held_out)
    database_first = np.concatenate([np.flatnonzero(~is_query), np.flatnonzero(is_query)])
    distinct = first_of_kind(pixels, database_first, progress)
    database, queries = distinct[~is_query[distinct]], distinct[is_query[distinct]]
    near = near_duplicates(pixels, labels, queries, database, progress)
    return Split(
        random.permutation(database),
        random.permutation(queries[~near]),
        sorted(names[held_out].tolist()),
        len(pixels) - len(distinct),
        int(near.sum()),
    )


def first_of_kind(pixels: Pixels, rows: Rows, progress: ProgressCallback) -> Rows:
    """The rows without those whose image is that of an earlier row, in their order."""
    digests = np.empty(len(rows), "S16")
    for place, row in enumerate(rows.tolist()):
        digests[place] = hashlib.blake2b(pixels[row], digest_size=16).digest()
        if place % 10_000 == 0:
            progress("find duplicates", place, len(rows))
    _, first = np.unique(digests, return_index=True)
    return rows[np.sort(first)]


def near_duplicates(
    pixels: Pixels, labels: npt.NDArray[np.integer[Any]], queries: Rows, database: Rows, progress: ProgressCallback
) -> Mask:
    """Which query rows have a database row of their label whose ink is nearly theirs."""
    found = np.zeros(len(queries), bool)
    query_classes, database_classes = _by_label(labels[queries]), _by_label(labels[database])
    for done, (label, places) in enumerate(query_classes.items(), start=1):
        others = database_classes.get(label)
        if others is not None:
            cosines = _unit_ink(pixels, queries[places]) @ _unit_ink(pixels, database[others]).T
            found[places] = cosines.max(axis=1) > NEAR_DUPLICATE_COSINE
        progress("find near-duplicates", done, len(query_classes))
    return found


def _by_label(labels: npt.NDArray[np.integer[Any]]) -> dict[int, Rows]:
    """The places of each label."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    return dict(zip(present.tolist(), np.split(order, starts[1:]), strict=True))


def _unit_ink(pixels: Pixels, rows: Rows) -> npt.NDArray[np.float32]:
    ink = pixels[rows].reshape(len(rows), -1).astype(np.float32)
    return np.asarray(ink / np.linalg.norm(ink, axis=1, keepdims=True))
