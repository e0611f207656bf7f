"""How good and how costly is a search: label accuracy, recall against exact neighbours, and arithmetic per query.

Accuracies are shares between 0 and 1, averaged over queries. Neighbour ids are rows of the database, nearest first;
id -1 means "nothing found" and never counts. Costs are in MFLOPs per query by the papers' convention: one multiply-add
is one FLOP, and selecting the nearest costs nothing.

Sources: MRL (arXiv 2205.13147, section 4.3 and appendix) for mAP@k and the cost of adaptive and funnel retrieval;
AdANNS (arXiv 2305.19435, sections 3 and 4) for k-recall@n and the cost of IVF.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Comparing every returned id with every wanted one takes queries * n * k bytes at once; more is done in pieces.
_COMPARISONS_AT_ONCE = 1 << 25


def top1_accuracy(ids: npt.ArrayLike, database_labels: npt.ArrayLike, query_labels: npt.ArrayLike) -> float:
    """Share of queries whose nearest neighbour carries their own label.

    ids: integers (queries, k), rows of the database; database_labels: (rows,); query_labels: (queries,).
    """
    neighbours = _checked_ids(ids, "ids")
    return float(_relevance(neighbours[:, :1], database_labels, query_labels).mean())


def recall(ids: npt.ArrayLike, exact_ids: npt.ArrayLike, k: int) -> float:
    """recall@k: share of the exact k nearest that are among the first k returned.

    ids and exact_ids: integers (queries, at least k). Ids are compared, so a row at the very same distance as an
    exact neighbour but not named by `exact_ids` is a miss.
    """
    return n_recall(ids, exact_ids, k, k)


def n_recall(ids: npt.ArrayLike, exact_ids: npt.ArrayLike, k: int, n: int) -> float:
    """k-recall@n: share of the exact k nearest that are among the first n returned.

    ids: integers (queries, at least n); exact_ids: integers (queries, at least k).
    """
    returned = _first_columns(_checked_ids(ids, "ids"), n, "ids", "n")
    wanted = _first_columns(_checked_ids(exact_ids, "exact_ids"), k, "exact_ids", "k")
    if len(returned) != len(wanted):
        raise ValueError(f"ids are of {len(returned)} queries but exact_ids of {len(wanted)}")
    found = 0
    step = max(1, _COMPARISONS_AT_ONCE // (n * k))
    for start in range(0, len(wanted), step):
        piece = wanted[start : start + step, :, None]
        hits = (piece == returned[start : start + step, None, :]).any(axis=2)
        found += int(np.count_nonzero(hits & (piece[:, :, 0] >= 0)))
    return found / wanted.size


def mean_average_precision(
    ids: npt.ArrayLike, database_labels: npt.ArrayLike, query_labels: npt.ArrayLike, k: int
) -> float:
    """mAP@k: mean over queries of AP@k = 1/k * sum over i <= k of precision@i, where neighbour i has the query's label.

    AP divides by k, not by the number of relevant rows (MRL's convention), so it is 1 only if all k neighbours agree.
    ids: integers (queries, at least k); database_labels: (rows,); query_labels: (queries,).
    """
    neighbours = _first_columns(_checked_ids(ids, "ids"), k, "ids", "k")
    relevant = _relevance(neighbours, database_labels, query_labels)
    precision = np.cumsum(relevant, axis=1) / np.arange(1, k + 1)
    return float((precision * relevant).sum(axis=1).mean() / k)


def mflops_exact(rows: int, dims: int) -> float:
    """Millions of multiply-adds to compare one query with every row at `dims` dimensions."""
    return _positive(rows, "rows") * _positive(dims, "dims") / 1e6


def mflops_adaptive(rows: int, shortlist_dims: int, rerank: Sequence[tuple[int, int]] = ()) -> float:
    """Cost of a shortlist over all rows and a cascade of (dims, keep): Ds * rows + sum of dims * keep, in MFLOPs."""
    return mflops_exact(rows, shortlist_dims) + _mflops_cascade(rerank)


def mflops_ivf(
    rows: int, lists: int, cluster_dims: int, scan_dims: int, probes: int, rerank: Sequence[tuple[int, int]] = ()
) -> float:
    """Cost of routing, scanning `probes` lists of average length and reranking, in MFLOPs per query:

    Dc * lists + probes * Ds * rows / lists + sum of dims * keep.
    """
    if _positive(probes, "probes") > _positive(lists, "lists"):
        raise ValueError(f"probes must be at most the number of lists, {lists}; got {probes}")
    route = _positive(cluster_dims, "cluster_dims") * lists
    scan = probes * _positive(scan_dims, "scan_dims") * _positive(rows, "rows") / lists
    return (route + scan) / 1e6 + _mflops_cascade(rerank)


def _mflops_cascade(rerank: Sequence[tuple[int, int]]) -> float:
    return sum(_positive(dims, "rerank dims") * _positive(keep, "rerank keep") for dims, keep in rerank) / 1e6


def _relevance(
    neighbours: npt.NDArray[np.integer[Any]], database_labels: npt.ArrayLike, query_labels: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """True where a neighbour exists and carries its query's label; shape of `neighbours`."""
    row_labels = _checked_labels(database_labels, "database_labels")
    wanted = _checked_labels(query_labels, "query_labels")
    if len(wanted) != len(neighbours):
        raise ValueError(f"ids are of {len(neighbours)} queries but there are {len(wanted)} query_labels")
    if not len(row_labels):
        raise ValueError("database_labels are empty")
    if neighbours.max() >= len(row_labels):
        raise ValueError(f"ids name row {neighbours.max()} but there are {len(row_labels)} database_labels")
    relevant: npt.NDArray[np.bool_] = (row_labels[neighbours] == wanted[:, None]) & (neighbours >= 0)
    return relevant


def _checked_ids(ids: npt.ArrayLike, name: str) -> npt.NDArray[np.integer[Any]]:
    array = np.asarray(ids)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have shape (queries, k), both at least 1; got {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must be integers; got {array.dtype}")
    if array.min() < -1:
        raise ValueError(f"{name} must be rows of the database, or -1 for none; got {array.min()}")
    return array


def _checked_labels(labels: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension; got shape {array.shape}")
    return array


def _first_columns(
    ids: npt.NDArray[np.integer[Any]], count: int, name: str, count_name: str
) -> npt.NDArray[np.integer[Any]]:
    if count < 1 or count > ids.shape[1]:
        raise ValueError(f"{count_name} must be between 1 and the {ids.shape[1]} columns of {name}; got {count}")
    return ids[:, :count]


def _positive(value: int, name: str) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
    return value
