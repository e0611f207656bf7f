"""What is searched: a dataset, its vectors as the peers need them, and the exact answer."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from adanns import datasets, evaluate
from adanns.ladder import Metric

K = 10
CHUNK_BYTES = 2**28  # of float32 rows
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Accuracy:
    """Shares between 0 and 1; None where there is nothing to compare with: exact neighbours, or labels."""

    recall10: float | None
    top1: float | None
    map10: float | None


@dataclass(frozen=True)
class Workload:
    """A dataset and the queries drawn from it; under cosine, `queries` have length 1.

    Without `exact_ids`, recall is not measured: that of a rigid twin, against neighbours of its own, would be no
    measure to compare with the Matryoshka model's.
    """

    dataset: datasets.Dataset
    queries: Floats
    query_labels: npt.NDArray[Any] | None
    exact_ids: Ids | None

    @property
    def name(self) -> str:
        """The dataset's name; of one's own arrays, that of their folder."""
        return short_name(self.dataset)

    @property
    def rows(self) -> int:
        """Number of database vectors."""
        return len(self.dataset.database)

    @property
    def dims(self) -> int:
        """Dimensions of the whole vector."""
        return int(self.dataset.database.shape[1])

    @property
    def metric(self) -> Metric:
        """l2, ip or cosine."""
        return cast(Metric, self.dataset.metric)

    def accuracy(self, ids: Ids) -> Accuracy:
        """How good the ids found for all queries are."""
        labels = self.dataset.database_labels
        top1 = average_precision = None
        if labels is not None and self.query_labels is not None:
            top1 = evaluate.top1_accuracy(ids, labels, self.query_labels)
            average_precision = evaluate.mean_average_precision(ids, labels, self.query_labels, K)
        recall = None if self.exact_ids is None else evaluate.recall(ids, self.exact_ids, K)
        return Accuracy(recall, top1, average_precision)

    def describe(self) -> Mapping[str, Any]:
        """What a reader of the results needs to know of the data; JSON-able."""
        return {
            "name": self.name,
            "rows": self.rows,
            "dims": self.dims,
            "queries": len(self.queries),
            "ladder": list(self.dataset.ladder),
            "metric": self.metric,
            "source": shown_source(self.dataset),
            "licence": self.dataset.licence,
            "exact_all_dims": None if self.exact_ids is None else vars(self.accuracy(self.exact_ids)),
            "synthetic": self.dataset.synthetic,
        }


def load(name: str) -> datasets.Dataset:
    """The dataset of a command line; what is wrong with it ends the program with one line, not with a traceback."""
    try:
        return datasets.load(name)
    except (datasets.DatasetUnavailableError, OSError, ValueError) as error:
        raise SystemExit(f"--dataset {name}: {error}") from error


def shown_source(dataset: datasets.Dataset) -> str:
    """Where a dataset comes from; where somebody's own arrays lie is no business of a results file."""
    return "arrays in a folder" if dataset.name.startswith("npy:") else dataset.source


def short_name(dataset: datasets.Dataset) -> str:
    """A dataset's name; of one's own arrays, that of their folder, wherever it lies."""
    return dataset.name.removeprefix("npy:").rstrip("/").rpartition("/")[2]


class Database:
    """A dataset's rows as the peers need them: float32, under cosine of length 1, a chunk at a time.

    Converted anew whenever asked for: as one array, the rows can be larger than the memory. With `dims`, the prefixes
    of the rows.
    """

    def __init__(self, dataset: datasets.Dataset, dims: int | None = None) -> None:
        self._stored = dataset.database[:, :dims]
        self.rows, self.dims = self._stored.shape
        self._unit = dataset.metric == "cosine"

    @property
    def nbytes(self) -> int:
        """Size as float32."""
        return int(self.rows * self.dims * 4)

    def chunks(self) -> Iterator[Floats]:
        """All rows in order, in equal chunks.

        Their number is a power of two: FAISS's arrays double as they grow, and would with one row more be twice as
        large in the end, and three times while they are copied.
        """
        count = 2 ** math.ceil(math.log2(max(1.0, self.nbytes / CHUNK_BYTES)))
        step = -(-self.rows // count)
        for start in range(0, self.rows, step):
            yield converted(self._stored[start : start + step], unit=self._unit)

    def sample(self, rows: int, seed: int) -> Floats:
        """So many random rows, or all if there are fewer."""
        if rows >= self.rows:
            return converted(self._stored, unit=self._unit)
        chosen = np.sort(np.random.default_rng(seed).choice(self.rows, rows, replace=False))
        return converted(self._stored[chosen], unit=self._unit)


def converted(vectors: npt.NDArray[Any], *, unit: bool) -> Floats:
    """A float32 copy, of length 1 if asked for."""
    copy: Floats = np.array(vectors, dtype=np.float32, order="C")
    if unit:
        faiss.normalize_L2(copy)
    return copy


def prepare(
    dataset: datasets.Dataset, queries: int | None, seed: int, threads: int, *, with_exact: bool = True
) -> tuple[Workload, Database]:
    """Draw `queries` of a dataset's queries (None: all); the same rows for a dataset and for its rigid twin.

    with_exact: search them exactly, with FAISS.
    """
    if len(dataset.database) < K:
        raise ValueError(f"{dataset.name} has {len(dataset.database)} rows; recall@{K} needs at least {K}")
    chosen = np.arange(len(dataset.queries))
    if queries is not None and queries < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, queries, replace=False))
    database = Database(dataset)
    query_rows = converted(dataset.queries[chosen], unit=dataset.metric == "cosine")
    labels = None if dataset.query_labels is None else np.asarray(dataset.query_labels)[chosen]
    exact_ids = _exact(query_rows, database, dataset.metric, threads) if with_exact else None
    return Workload(dataset, query_rows, labels, exact_ids), database


def _exact(queries: Floats, database: Database, metric: str, threads: int) -> Ids:
    """Ids of the K nearest rows, (queries, K): chunk by chunk, each merged into the best so far."""
    faiss.omp_set_num_threads(threads)
    measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    best = np.full((len(queries), K), np.inf if metric == "l2" else -np.inf, np.float32)
    ids = np.full((len(queries), K), -1, np.int64)
    first = 0
    for chunk in database.chunks():
        found, rows = faiss.knn(queries, chunk, min(K, len(chunk)), metric=measure)
        best, ids = np.hstack([best, found]), np.hstack([ids, rows + first])
        order = np.argsort(best if metric == "l2" else -best, axis=1, kind="stable")[:, :K]
        best, ids = np.take_along_axis(best, order, axis=1), np.take_along_axis(ids, order, axis=1)
        first += len(chunk)
    return ids
