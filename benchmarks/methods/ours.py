"""How adanns' three indices are built and swept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import adanns
from adanns import evaluate
from benchmarks.data import Floats, Ids, Workload
from benchmarks.methods.base import Built, Setting, Stopwatch, Sweep, constant

Cascade = list[tuple[int, int]]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Ours:
    """Our methods over one workload."""

    workload: Workload
    sweep: Sweep
    threads: int
    device: Device = "cpu"  # where searches run

    def exact(self) -> Iterator[Built]:
        """Exact search at every rung, float32."""
        dataset = self.workload.dataset
        with Stopwatch() as watch:
            index = adanns.ExactIndex(metric=self.workload.metric, ladder=dataset.ladder, precision="float32")
            index = index.build(dataset.database, threads=self.threads, progress=False).to(self.device)

        def setting(dims: int) -> Setting:
            def search(queries: Floats, k: int, threads: int) -> Ids:
                return index.search(queries, k=k, dims=dims, threads=threads).ids

            return Setting({"dims": dims}, search, constant(evaluate.mflops_exact(self.workload.rows, dims)))

        settings = [setting(dims) for dims in dataset.ladder]
        yield Built("adanns exact", "adanns", watch.seconds, index.bytes_per_vector, settings)

    def funnel(self) -> Iterator[Built]:
        """A shortlist from a scan of a short prefix, then a cascade: the papers' adaptive retrieval."""
        dataset = self.workload.dataset
        for built_for in [dims for dims in dataset.ladder[:-1] if dims in (16, 32)] or dataset.ladder[:1]:
            with Stopwatch() as watch:
                index = adanns.FunnelIndex(built_for, metric=self.workload.metric, ladder=dataset.ladder)
                index = index.build(dataset.database, threads=self.threads, progress=False).to(self.device)
            # 8 dims are scanned in the code for 16: the dims of every stage are arguments of the search.
            searched_at = [dims for dims in dataset.ladder if dims == built_for or (dims == 8 and built_for == 16)]
            settings = [
                self._funnel_setting(index, shortlist_dims, rerank)
                for shortlist_dims in searched_at
                for rerank in funnel_cascades(dataset.ladder)
            ]
            yield Built("adanns funnel", "adanns", watch.seconds, index.bytes_per_vector, settings)

    def _funnel_setting(self, index: adanns.FunnelIndex, shortlist_dims: int, rerank: Cascade) -> Setting:
        def search(queries: Floats, k: int, threads: int) -> Ids:
            found = index.search(queries, k=k, shortlist_dims=shortlist_dims, rerank=rerank, threads=threads)
            return found.ids

        cost = evaluate.mflops_adaptive(self.workload.rows, shortlist_dims, rerank)
        return Setting({"shortlist_dims": shortlist_dims, "rerank": as_lists(rerank)}, search, constant(cost))

    def ivf(self) -> Iterator[Built]:
        """AdANNS-IVF: lists clustered on one prefix, scanned at another, reranked by a cascade."""
        dataset = self.workload.dataset
        for scan_dims in self.sweep.prefixes:
            with Stopwatch() as watch:
                index = adanns.IVFIndex(
                    cluster_dims=self.sweep.prefixes[-1],
                    scan_dims=scan_dims,
                    lists=self.sweep.lists,
                    metric=self.workload.metric,
                    ladder=dataset.ladder,
                    precision="float16",
                    seed=self.sweep.seed,
                    iterations=self.sweep.iterations,
                    points_per_list=self.sweep.points_per_list,
                )
                index = index.build(dataset.database, threads=self.threads, progress=False).to(self.device)
            settings = [
                self._ivf_setting(index, scan_dims, probes, rerank)
                for probes in self.sweep.probes
                for rerank in ivf_cascades(dataset.ladder, scan_dims, self.sweep.shortlists)
            ]
            yield Built("adanns IVF", "adanns", watch.seconds, index.bytes_per_vector, settings)

    def _ivf_setting(self, index: adanns.IVFIndex, scan_dims: int, probes: int, rerank: Cascade) -> Setting:
        def search(queries: Floats, k: int, threads: int) -> Ids:
            return index.search(queries, k=k, probes=probes, rerank=rerank, threads=threads).ids

        lists, cluster_dims = self.sweep.lists, self.sweep.prefixes[-1]
        parameters = {
            "cluster_dims": cluster_dims,
            "scan_dims": scan_dims,
            "lists": lists,
            "probes": probes,
            "rerank": as_lists(rerank),
        }
        cost = evaluate.mflops_ivf(self.workload.rows, lists, cluster_dims, scan_dims, probes, rerank)
        return Setting(parameters, search, constant(cost))


def funnel_cascades(ladder: Sequence[int]) -> list[Cascade]:
    """Straight to all dims with short to long shortlists, then by way of a middle rung."""
    straight: list[Cascade] = [[(ladder[-1], keep)] for keep in (50, 200, 800)]
    middle = middle_rung(ladder, above=32)
    if middle is None:
        return straight
    return [*straight, [(middle, 200), (ladder[-1], 40)], [(middle, 800), (ladder[-1], 100)]]


def ivf_cascades(ladder: Sequence[int], scan_dims: int, shortlists: Sequence[int]) -> list[Cascade]:
    """Straight to all dims with the shortlists that the peers get too, then by way of a middle rung."""
    straight: list[Cascade] = [[(ladder[-1], keep)] for keep in shortlists]
    middle = middle_rung(ladder, above=scan_dims)
    if middle is None:
        return straight
    return [
        *straight,
        [(middle, 100), (ladder[-1], 20)],
        [(middle, 200), (ladder[-1], 40)],
        [(middle, 400), (ladder[-1], 80)],
    ]


def middle_rung(ladder: Sequence[int], above: int) -> int | None:
    """The first rung of at least twice `above`, unless that is the last."""
    return next((dims for dims in ladder[:-1] if dims >= 2 * above), None)


def as_lists(rerank: Cascade) -> list[list[int]]:
    """A cascade as JSON gives it back."""
    return [list(stage) for stage in rerank]
