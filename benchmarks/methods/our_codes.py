"""How adanns' codes are built and swept: OPQ, IVFOPQ, and the index that is given its bytes alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import adanns
from adanns.indexes.compact import chosen_dims
from benchmarks.codes_results import CASCADED, RERANKED
from benchmarks.data import Floats, Ids, Workload
from benchmarks.methods.base import Built, Setting, Stopwatch, constant
from benchmarks.methods.code_sweep import BITS, CodeSweep, segments_of
from benchmarks.methods.ours import Cascade, Device, as_lists, middle_rung

Codes = adanns.OPQIndex | adanns.IVFOPQIndex | adanns.CompactIndex


@dataclass(frozen=True)
class OurCodes:
    """Our codes over one workload. Lists are clustered on one short prefix, whatever is coded.

    Codes alone and codes with planes to rerank by are two indexes, as a user would build them.
    """

    workload: Workload
    sweep: CodeSweep
    threads: int
    device: Device = "cpu"  # where searches run

    def opq(self) -> Iterator[Built]:
        """AdANNS-OPQ: all rows by their codes."""
        for size in self.sweep.sizes:
            for bits in BITS:
                for dims in self.sweep.prefixes(size, bits)[-1:]:
                    parameters = {"bytes": size, "bits": bits, "dims": dims}

                    def index(precision: str | None, shape: dict[str, Any] = parameters) -> Codes:
                        options = self._code_options(precision)
                        return adanns.OPQIndex(shape["dims"], shape["bytes"], bits=shape["bits"], **options)

                    yield from self._each(named("adanns OPQ", bits), index, (None, "float16"), parameters)

    def ivfopq(self) -> Iterator[Built]:
        """AdANNS-IVFOPQ: codes of residuals in lists."""
        for size in self.sweep.sizes:
            for bits in BITS:
                prefixes = self.sweep.prefixes(size, bits)
                for dims in prefixes if bits == 4 else prefixes[-1:]:
                    parameters = {"bytes": size, "bits": bits, "dims": dims} | self._lists

                    def index(precision: str | None, shape: dict[str, Any] = parameters) -> Codes:
                        options = self._code_options(precision) | self._list_options
                        return adanns.IVFOPQIndex(
                            scan_dims=shape["dims"], code_bytes=shape["bytes"], bits=shape["bits"], **options
                        )

                    # A shorter prefix may be the faster one before a rerank; alone it is only less accurate.
                    precisions = (None, "float16") if dims == prefixes[-1] else ("float16",)
                    yield from self._each(named("adanns IVFOPQ", bits), index, precisions, parameters)

    def compact(self) -> Iterator[Built]:
        """Dims, bits and segments chosen for the bytes: for codes alone, and for codes before a rerank."""
        for size in self.sweep.sizes:
            for precision in (None, "float16"):
                options = self._code_options(precision) | self._list_options
                index = adanns.CompactIndex(size, **options)
                bits, dims = index.parameters.code_bits, chosen_dims(self.sweep.ladder, index.parameters)
                if segments_of(size, bits) <= dims:
                    parameters = {"bytes": size, "bits": bits, "dims": dims} | self._lists
                    yield from self._searched("adanns Compact", index, parameters)

    def _each(
        self,
        name: str,
        index: Callable[[str | None], Codes],
        precisions: Sequence[str | None],
        parameters: dict[str, Any],
    ) -> Iterator[Built]:
        for precision in precisions:
            yield from self._searched(name, index(precision), parameters)

    def _searched(self, name: str, index: Codes, parameters: dict[str, Any]) -> Iterator[Built]:
        """An index built, and all its settings: by the rerank that all share and by cascades, or codes alone."""
        with Stopwatch() as watch:
            index.build(self.workload.dataset.database, threads=self.threads, progress=False)
            index = index.to(self.device)
        variants: dict[str, list[Cascade]] = {name: [[]]}
        if index.parameters.precision is not None:
            variants = {name + RERANKED: [self.sweep.rerank]}
            middle = middle_rung(self.sweep.ladder, above=parameters["dims"])
            if middle is not None and isinstance(index, adanns.CompactIndex):
                last = self.sweep.ladder[-1]
                variants[name + CASCADED] = [[(middle, 100), (last, 20)], [(middle, 200), (last, 40)]]
        for method, reranks in variants.items():
            settings = [
                self._setting(index, parameters, probes, rerank)
                for rerank in reranks
                for probes in self._probes(parameters, rerank)
            ]
            yield Built(method, "adanns", watch.seconds, index.bytes_per_vector, settings)

    def _probes(self, parameters: dict[str, Any], rerank: Cascade) -> tuple[int, ...] | tuple[None]:
        if "lists" not in parameters:
            return (None,)
        return self.sweep.probes_reranked if rerank else self.sweep.probes_alone

    def _setting(self, index: Codes, parameters: dict[str, Any], probes: int | None, rerank: Cascade) -> Setting:
        options: dict[str, Any] = {} if probes is None else {"probes": probes}

        def search(queries: Floats, k: int, threads: int) -> Ids:
            return index.search(queries, k, rerank=rerank, threads=threads, **options).ids

        parameters = parameters | options | ({"rerank": as_lists(rerank)} if rerank else {})
        return Setting(parameters, search, constant(code_mflops(self.workload.rows, parameters, rerank)))

    def _code_options(self, precision: str | None) -> dict[str, Any]:
        return {
            "metric": self.workload.metric,
            "ladder": self.sweep.ladder,
            "precision": precision,
            "rotations": self.sweep.rotations,
            "training_rows": self.sweep.training_rows,
            "seed": self.sweep.seed,
        }

    @property
    def _lists(self) -> dict[str, int]:
        return {"cluster_dims": self.sweep.lists.prefixes[-1], "lists": self.sweep.lists.lists}

    @property
    def _list_options(self) -> dict[str, Any]:
        lists = self.sweep.lists
        return self._lists | {"iterations": lists.iterations, "points_per_list": lists.points_per_list}


def named(name: str, bits: int) -> str:
    """A method's name with its bits a segment, where they are not the usual 8."""
    return name if bits == 8 else f"{name} {bits}-bit"


def code_mflops(rows: int, parameters: dict[str, Any], rerank: Cascade) -> float:
    """Routing and reranking by the papers' formulas; a segment of a code is one addition."""
    segments = segments_of(parameters["bytes"], parameters["bits"])
    lists = parameters.get("lists", 0)
    share = parameters["probes"] / lists if lists else 1
    routing = lists * parameters.get("cluster_dims", parameters["dims"])
    return float((routing + rows * share * segments + sum(dims * keep for dims, keep in rerank)) / 1e6)
