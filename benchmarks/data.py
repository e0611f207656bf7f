"""What is searched: a dataset, its vectors as the peers need them, and the exact answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from adanns import datasets, evaluate
from adanns.ladder import Metric

K = 10
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Accuracy:
    """Shares between 0 and 1; label measures are None where the dataset has no labels."""

    recall10: float
    top1: float | None
    map10: float | None


@dataclass(frozen=True)
class Workload:
    """A dataset and the queries drawn from it; under cosine, `queries` have length 1."""

    dataset: datasets.Dataset
    queries: Floats
    query_labels: npt.NDArray[Any] | None
    exact_ids: Ids

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
        return Accuracy(evaluate.recall(ids, self.exact_ids, K), top1, average_precision)

    def describe(self) -> Mapping[str, Any]:
        """What a reader of the results needs to know of the data; JSON-able."""
        is_folder = self.dataset.name.startswith("npy:")
        return {
            "name": self.name,
            "rows": self.rows,
            "dims": self.dims,
            "queries": len(self.queries),
            "ladder": list(self.dataset.ladder),
            "metric": self.metric,
            # Where somebody's own arrays lie is no business of a results file.
            "source": "arrays in a folder" if is_folder else self.dataset.source,
            "licence": self.dataset.licence,
            "exact_all_dims": vars(self.accuracy(self.exact_ids)),
        }


def short_name(dataset: datasets.Dataset) -> str:
    """A dataset's name; of one's own arrays, that of their folder, wherever it lies."""
    return dataset.name.removeprefix("npy:").rstrip("/").rpartition("/")[2]


def prepare(name: str, queries: int | None, seed: int, threads: int) -> tuple[Workload, Floats]:
    """Load a dataset, draw `queries` of its queries (None: all) and search them exactly with FAISS.

    Returns the database as FAISS needs it, too: float32, under cosine of length 1. It is as large as an index.
    """
    dataset = datasets.load(name)
    if len(dataset.database) < K:
        raise ValueError(f"{name} has {len(dataset.database)} rows; recall@{K} needs at least {K}")
    chosen = np.arange(len(dataset.queries))
    if queries is not None and queries < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, queries, replace=False))
    database = np.array(dataset.database, dtype=np.float32, order="C")
    query_rows = np.array(dataset.queries[chosen], dtype=np.float32, order="C")
    if dataset.metric == "cosine":
        faiss.normalize_L2(database)
        faiss.normalize_L2(query_rows)
    labels = None if dataset.query_labels is None else np.asarray(dataset.query_labels)[chosen]
    faiss.omp_set_num_threads(threads)
    _, exact_ids = faiss.knn(
        query_rows, database, K, metric=faiss.METRIC_L2 if dataset.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    )
    return Workload(dataset, query_rows, labels, exact_ids), database
