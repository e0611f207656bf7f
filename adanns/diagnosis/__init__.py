"""Are these vectors Matryoshka-shaped? `adanns.diagnose(vectors)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adanns.arrays import checked_count, checked_seed, checked_threads
from adanns.diagnosis import prefixes, sampling, words
from adanns.diagnosis.energy import energy_of
from adanns.diagnosis.report import Diagnosis
from adanns.diagnosis.verdict import judge, suitable_ladder
from adanns.ladder import Metric, checked_ladder, checked_metric, ladder_for
from adanns.progress import Progress, ProgressCallback

__all__ = ["Diagnosis", "diagnose"]


def diagnose(
    vectors: Any,
    labels: Any = None,
    *,
    metric: Metric = "cosine",
    ladder: Sequence[int] | None = None,
    rows: int = 20_000,
    queries: int = 500,
    seed: int = 0,
    threads: int | None = None,
    progress: bool | ProgressCallback | None = None,
) -> Diagnosis:
    """Say whether prefixes of these vectors are embeddings, at which dims, and in what state the rows are.

    vectors: (rows, dims), whatever numpy reads as a matrix of floats; only a sample of `rows` and `queries` rows is
    read, so a memory map may be as large as it likes. labels: (rows,), for the top-1 accuracy of the nearest neighbour.
    ladder: the dims you believe they were trained at; None: the default ladder. The same seed gives the same diagnosis.

    Prefixes are compared with those of a random rotation, which hold what chance puts there, and of an SVD, which hold
    the most a linear map can. TypeError or ValueError where the input is no such matrix, holds NaN, or has fewer than
    100 distinct rows.

    >>> diagnosis = adanns.diagnose(vectors)
    >>> print(diagnosis)
    >>> diagnosis.plot("diagnosis.png")
    """
    checked_metric(metric)
    asked = checked_ladder(ladder)
    row_count, query_count = checked_count(rows, "rows"), checked_count(queries, "queries")
    thread_count = checked_threads(threads)
    bar = Progress(progress)  # refused before the rows are read
    sample = sampling.draw(vectors, labels, row_count, query_count, checked_seed(seed))
    nominal = ladder_for(sample.dims, asked)
    probed = prefixes.probed_dims(sample.dims, nominal)
    with bar:
        curves = prefixes.measure(
            sample, probed, metric, seed, thread_count, lambda done, total: bar.step("diagnose", done, total)
        )
    energy = energy_of(sample.database)
    lengths = sampling.lengths(sample.database, probed)
    shape, order = judge(curves, energy)
    suitable = suitable_ladder(shape, nominal, energy.steps)
    return Diagnosis(
        shape=shape,
        order=order,
        ladder=suitable,
        reasons=(
            *words.about_neighbours(shape, curves),
            *words.about_energy(shape, energy),
            *words.about_labels(curves),
            *words.about_ladder(suitable, nominal, curves),
            *words.about_lengths(lengths, sample.dims),
            *words.about_rows(sample),
        ),
        rows=len(vectors),
        dims=sample.dims,
        dtype=sample.dtype,
        metric=metric,
        seed=seed,
        drawn=sample.drawn,
        database_rows=len(sample.database),
        queries=len(sample.queries),
        zero_rows=sample.zero_rows,
        duplicate_rows=sample.duplicate_rows,
        constant_dims=sample.constant_dims,
        lengths=lengths,
        energy=energy,
        curves=curves,
    )
