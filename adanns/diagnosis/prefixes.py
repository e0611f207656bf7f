"""How well does a prefix stand for the whole vector: as the vectors are, after a rotation, after an SVD?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adanns import evaluate
from adanns.diagnosis.sampling import Floats, Sample
from adanns.indexes.exact import ExactIndex
from adanns.ladder import Metric, default_ladder

NEIGHBOURS = 10
SHORTLISTS = (10, 20, 50, 100, 200, 500)
LARGEST_SHORTLIST_SHARE = 4  # a shortlist of more than one row in so many would flatter small samples


@dataclass(frozen=True)
class Curve:
    """What prefixes keep, for one basis of the vectors.

    recall: for each prefix, for each shortlist size n: share of the nearest at all dims that are among the n nearest at
    the prefix. top1: for each prefix, share of queries whose nearest row has their label; None without labels.
    """

    recall: tuple[tuple[float, ...], ...]
    top1: tuple[float, ...] | None


@dataclass(frozen=True)
class Curves:
    """The curves of the vectors as they are, of a random rotation of them, and of their SVD.

    Rotations keep all distances at full dims, so the exact neighbours are the same for all three. A rotation's prefixes
    hold what chance puts there, an SVD's the most that a linear map can.
    """

    prefix_dims: tuple[int, ...]
    shortlists: tuple[int, ...]
    given: Curve
    rotated: Curve
    svd: Curve

    @property
    def all(self) -> tuple[Curve, Curve, Curve]:
        """given, rotated, svd."""
        return self.given, self.rotated, self.svd

    @property
    def top1(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] | None:
        """Top-1 of all three; None without labels."""
        if self.given.top1 is None or self.rotated.top1 is None or self.svd.top1 is None:
            return None
        return self.given.top1, self.rotated.top1, self.svd.top1


def probed_dims(dims: int, ladder: tuple[int, ...]) -> tuple[int, ...]:
    """Prefixes to look at: the ladder, the default one, and 8, 12, 16, 24, 32, ... between (1, 2, 3, ... below 32)."""
    octaves = [1 << power for power in range(dims.bit_length())]
    smallest = 8 if dims >= 32 else 1
    between = {size for octave in octaves for size in (octave, octave * 3 // 2) if smallest <= size < dims}
    return tuple(sorted(between | {*ladder, *default_ladder(dims)}))


def shortlist_sizes(rows: int) -> tuple[int, ...]:
    """The sizes that make sense among `rows` rows; the first is the number of neighbours looked for."""
    return SHORTLISTS[:1] + tuple(size for size in SHORTLISTS[1:] if size <= rows // LARGEST_SHORTLIST_SHARE)


def measure(
    sample: Sample,
    prefix_dims: tuple[int, ...],
    metric: Metric,
    seed: int,
    threads: int,
    report: Callable[[int, int], None],
) -> Curves:
    """Search every prefix in the three bases; report(done, total) is called after each search."""
    sizes = shortlist_sizes(len(sample.database))
    shorter = prefix_dims[:-1]
    total = len(prefix_dims) + 2 * len(shorter)
    done = 0
    # A common factor changes no ranking, and products of very large or small values would leave float32.
    largest = np.abs(sample.database).max()
    database, queries = sample.database / largest, sample.queries / largest

    def curve(rows: Floats, wanted: Floats, searched: tuple[int, ...]) -> Curve:
        nonlocal done
        index = ExactIndex(metric=metric, ladder=searched).build(rows, threads=threads, progress=False)
        recall, top1 = [], []
        for dims in searched:
            ids = index.search(wanted, k=sizes[-1], dims=dims, threads=threads).ids
            recall.append(tuple(evaluate.n_recall(ids, exact_ids, NEIGHBOURS, size) for size in sizes))
            if sample.database_labels is not None and sample.query_labels is not None:
                top1.append(evaluate.top1_accuracy(ids, sample.database_labels, sample.query_labels))
            done += 1
            report(done, total)
        return Curve(tuple(recall), tuple(top1) or None)

    def rotated(directions: Floats) -> Curve:
        found = curve(database @ directions, queries @ directions, shorter)
        # At all dims nothing changes, so that is not searched again.
        return Curve(found.recall + given.recall[-1:], found.top1 and (found.top1 + (given.top1 or ())[-1:]))

    whole = ExactIndex(metric=metric, ladder=prefix_dims[-1:]).build(database, threads=threads, progress=False)
    exact_ids = whole.search(queries, k=NEIGHBOURS, threads=threads).ids
    given = curve(database, queries, prefix_dims)
    random, svd = _rotation(sample.dims, shorter[-1], seed), _svd(database, shorter[-1])
    return Curves(prefix_dims, sizes, given, rotated(random), rotated(svd))


def _rotation(dims: int, columns: int, seed: int) -> Floats:
    """The first columns of a random orthogonal matrix."""
    normal = np.random.default_rng(seed).standard_normal((dims, columns), dtype=np.float32)
    return np.linalg.qr(normal)[0]


def _svd(database: Floats, columns: int) -> Floats:
    """The directions that hold most of the sum of squares, the strongest first."""
    _, vectors = np.linalg.eigh(database.T @ database)
    return np.ascontiguousarray(vectors[:, ::-1][:, :columns])
