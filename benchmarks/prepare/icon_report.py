"""What is in the icon sample, how good is it, and whose icons are they?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from benchmarks.prepare.icon_images import IconSet

Float32s = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Sets = npt.NDArray[np.int16]


def unit(vectors: Float32s) -> Float32s:
    """Rows scaled to length 1; a row of zeros stays as it is."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6))


def nearest(queries: Float32s, database: Float32s, k: int) -> tuple[Float32s, Ids]:
    """Cosines and rows of the k nearest database rows, both (queries, k), the nearest first."""
    cosines = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    transposed, unit_queries = unit(database).T, unit(queries)
    for start, stop in pairwise([*range(0, len(queries), 256), len(queries)]):
        similarities = unit_queries[start:stop] @ transposed
        candidates = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(similarities, candidates, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        rows[start:stop] = np.take_along_axis(candidates, order, axis=1)
        cosines[start:stop] = np.take_along_axis(found, order, axis=1)
    return cosines, rows


def accuracy_table(
    original: Float32s, packed: Float32s, labels: npt.NDArray[np.int16], database_rows: int, ladder: Sequence[int]
) -> str:
    """Top-1 by dims of the embeddings before and after packing, and recall@10 of the packed ones, as Markdown."""
    lines = ["| dims | top-1 before packing | top-1 packed | recall@10 packed |", "|---|---|---|---|"]
    for dims in ladder:
        exact, found = (
            nearest(vectors[database_rows:, :dims], vectors[:database_rows, :dims], 10)[1]
            for vectors in (original, packed)
        )
        before, after = (float((labels[ids[:, 0]] == labels[database_rows:]).mean()) for ids in (exact, found))
        recall = np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)])
        lines.append(f"| {dims} | {before:.4f} | {after:.4f} | {recall:.4f} |")
    return "\n".join(lines)


def licence_table(icon_sets: Sequence[IconSet], database_sets: Sets, query_sets: Sets) -> str:
    """Every set with at least one row in the sample, as Markdown; `..._sets` is a row's place in `icon_sets`."""
    lines = [
        "# Whose icons are in icons.npz",
        "The file holds embeddings of drawings of these icons, not the icons. Sets, authors and licences are named as",
        "in the npm package `@iconify/json`.",
        "",
        "| set | title | author | licence | database rows | queries |",
        "|---|---|---|---|---|---|",
    ]
    counts = [np.bincount(sets, minlength=len(icon_sets)) for sets in (database_sets, query_sets)]
    for icon_set, database, queries in zip(icon_sets, *counts, strict=True):
        if database + queries:
            cells = (icon_set.prefix, icon_set.title, icon_set.author, icon_set.licence)
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} | {database} | {queries} |")
    return "\n".join(lines) + "\n"


def description(facts: dict[str, str | int], accuracy: str) -> str:
    """The page that lies beside the sample."""
    lines = ["# icons.npz", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += [
        "Top-1: the share of queries whose nearest database row has their class. Packed: as `load` gives them.",
        "Recall@10: the share of the ten nearest rows at these dims before packing that are among the ten after it.",
        "",
        accuracy,
    ]
    return "\n".join(lines) + "\n"
