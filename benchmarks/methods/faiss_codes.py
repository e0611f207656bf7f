"""How FAISS's codes are built and swept: OPQ and its 4-bit kind, over all rows and in lists, and RaBitQ.

Each index gets our lists and training rows, and more turns of the rotation. Under cosine vectors of length 1 are
compared by L2: by inner product FAISS would leave out the norms of the decoded rows, and find a fifth less.
"""

import importlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from benchmarks.codes_results import RERANKED
from benchmarks.data import Database, Workload
from benchmarks.methods.base import Built, Setting, Stopwatch, Sweep, constant
from benchmarks.methods.code_sweep import BITS, CodeSweep, fits, segments_of
from benchmarks.methods.faiss_peers import FaissPeers, refining, searcher, serialized_bytes
from benchmarks.methods.faiss_spaces import Space, prefix_space, reduced_space
from benchmarks.methods.faiss_training import Trained, Transform
from benchmarks.methods.our_codes import code_mflops, named
from benchmarks.methods.ours import as_lists

faiss: Any = importlib.import_module("faiss")
FaissIndex = Any
RABITQ_QUERY_BITS = 8  # of a query's dims; FAISS's most
RABITQ_MOST_BITS = 8
RABITQ_DIMS = (64, 128, 256)
SCAN_BLOCK = 32


class FaissCodes:
    """FAISS's codes over one workload; `model` names what was embedded otherwise than the Matryoshka vectors."""

    def __init__(
        self, workload: Workload, database: Database, sweep: CodeSweep, threads: int, model: str | None = None
    ) -> None:
        self.workload = workload
        self.database = database
        self.sweep = sweep
        self.threads = threads
        self.model = model
        self._peers = FaissPeers(workload, database, sweep.lists, threads)
        self._spaces = {dims: prefix_space(workload, dims) for dims in sweep.ladder}
        self._trained = Trained(sweep, self._metric)
        faiss.omp_set_num_threads(threads)

    def opq(self) -> Iterator[Built]:
        """All rows by codes of a prefix, of 8 and of 4 bits a segment."""
        for size in self.sweep.sizes:
            for bits in BITS:
                for dims in self.sweep.prefixes(size, bits)[-1:]:
                    yield from self._over_all_rows(self._spaces[dims], size, bits, reranked=True)

    def ivfopq(self) -> Iterator[Built]:
        """Lists, and codes of 8 bits a segment of what is left of a row without its centroid."""
        for size in self.sweep.sizes:
            for dims in self.sweep.prefixes(size, 8)[-1:]:
                yield from self._in_lists(self._spaces[dims], size, 8)

    def four_bit(self) -> Iterator[Built]:
        """The same with segments of 4 bits, scanned in registers."""
        for size in self.sweep.sizes:
            for dims in self.sweep.prefixes(size, 4):
                yield from self._in_lists(self._spaces[dims], size, 4)

    def rabitq(self) -> Iterator[Built]:
        """Lists and RaBitQ's codes of one or more bits a dim; the bytes are all that FAISS keeps of a row."""
        for size in self.sweep.sizes:
            for dims in (dims for dims in RABITQ_DIMS if dims in self.sweep.ladder):
                bits = most_rabitq_bits(dims, size)
                # One bit fits smaller sizes too: measured there.
                if bits and (bits > 1 or not most_rabitq_bits(dims, size // 2)):
                    yield from self._rabitq_in_lists(self._spaces[dims], size, bits)

    def all_dims_opq(self) -> Iterator[Built]:
        """What one does without prefixes: codes of all dims, over all rows."""
        for size in self.sweep.sizes:
            if fits(self.sweep.reduced_dims, size, 8):
                yield from self._over_all_rows(self._reduced, size, 8, reranked=False)

    def all_dims_ivfopq(self) -> Iterator[Built]:
        """Lists and codes of all dims."""
        for size in self.sweep.sizes:
            if fits(self.sweep.reduced_dims, size, 8):
                yield from self._in_lists(self._reduced, size, 8)

    def _over_all_rows(self, space: Space, size: int, bits: int, *, reranked: bool) -> Iterator[Built]:
        segments = segments_of(size, bits)
        rotation, seconds = self._trained.rotation(space, segments, bits)
        if bits == 8:
            inner = faiss.IndexPQ(space.dims, segments, bits, self._metric)
        else:
            inner = faiss.IndexPQFastScan(space.dims, segments, bits, self._metric, SCAN_BLOCK)
        inner.pq.cp.min_points_per_centroid = 1
        seconds += self._fill(inner, rotation, space)
        parameters = {"bytes": size, "bits": bits, "dims": space.dims}
        yield from self._searched(named("FAISS OPQ", bits), inner, rotation, space, seconds, parameters, reranked)

    def _in_lists(self, space: Space, size: int, bits: int) -> Iterator[Built]:
        lists, segments = self._lists(space).lists, segments_of(size, bits)
        rotation, seconds = self._trained.rotation(space, segments, bits)
        quantizer, clustering_seconds = self._turned_lists(space, rotation)
        if bits == 8:
            inner = faiss.IndexIVFPQ(quantizer, space.dims, lists, segments, bits, self._metric)
        else:
            inner = faiss.IndexIVFPQFastScan(quantizer, space.dims, lists, segments, bits, self._metric, SCAN_BLOCK)
            inner.by_residual = True
        inner.pq.cp.min_points_per_centroid = 1
        seconds += clustering_seconds + self._fill(inner, rotation, space)
        parameters = {"bytes": size, "bits": bits, "dims": space.dims, "lists": lists}
        yield from self._searched(named("FAISS IVFOPQ", bits), inner, rotation, space, seconds, parameters)

    def _rabitq_in_lists(self, space: Space, size: int, bits: int) -> Iterator[Built]:
        lists = self.sweep.lists.lists
        rotation = faiss.RandomRotationMatrix(space.dims, space.dims)
        rotation.init(self.sweep.seed)
        quantizer, seconds = self._turned_lists(space, rotation)
        inner = faiss.IndexIVFRaBitQFastScan(quantizer, space.dims, lists, self._metric, SCAN_BLOCK, True, bits)
        seconds += self._fill(inner, rotation, space)
        parameters = {"bytes": size, "bits": bits, "dims": space.dims, "lists": lists}
        yield from self._searched("FAISS IVF RaBitQ", inner, rotation, space, seconds, parameters)

    def _searched(
        self,
        name: str,
        inner: FaissIndex,
        rotation: Transform,
        space: Space,
        seconds: float,
        parameters: dict[str, Any],
        reranked: bool = True,
    ) -> Iterator[Built]:
        """An index under all its settings: codes alone, and with the rerank all share.

        The rigid model is not reranked: what its codes lose is what is asked.
        """
        base = faiss.IndexPreTransform(inner)
        for transform in reversed([*space.transforms, rotation]):
            base.prepend_transform(transform)
        if self.model is not None or space.name != "prefix":
            name += f", {self.model or space.name}"
        size = serialized_bytes(base) / self.workload.rows
        seconds += space.seconds
        settings = [self._setting(base, name, parameters, probes) for probes in self._probes(inner, alone=True)]
        yield Built(name, self._family, seconds, size, settings)
        if not reranked or self.model is not None:
            return
        store = self._peers.refine_store(base)
        refined = faiss.IndexRefine(base, store.index)
        settings = [
            self._setting(refined, name, parameters, probes, reranked=True)
            for probes in self._probes(inner, alone=False)
        ]
        yield Built(name + RERANKED, self._family, seconds + store.seconds, size + store.bytes_per_vector, settings)

    def _lists(self, space: Space) -> Sweep:
        return (self.sweep if space.name == "prefix" else self.sweep.for_all_dims()).lists

    def _probes(self, inner: FaissIndex, *, alone: bool) -> tuple[int, ...] | tuple[None]:
        if not isinstance(inner, faiss.IndexIVF):
            return (None,)
        probes = self.sweep.probes_alone if alone else self.sweep.probes_reranked
        return tuple(count for count in probes if count <= inner.nlist)

    def _setting(
        self,
        index: FaissIndex,
        name: str,
        parameters: dict[str, Any],
        probes: int | None,
        *,
        reranked: bool = False,
    ) -> Setting:
        rerank = [(self.workload.dims, self.sweep.shortlist)] if reranked else []
        inner = None
        if probes is not None:
            parameters = parameters | {"probes": probes}
            inner = faiss.SearchParametersIVF(nprobe=probes)
            if "RaBitQ" in name:
                inner = faiss.IVFRaBitQSearchParameters(nprobe=probes, qb=RABITQ_QUERY_BITS)
        if reranked:
            parameters = parameters | {"rerank": as_lists(rerank)}
            search = searcher(index, refining(self.sweep.shortlist, inner))
        else:
            search = searcher(index, inner and faiss.SearchParametersPreTransform(index_params=inner))
        return Setting(parameters, search, constant(code_mflops(self.workload.rows, parameters, rerank)))

    def _turned_lists(self, space: Space, rotation: Transform) -> tuple[FaissIndex, float]:
        centroids, seconds = self._trained.centroids(space, self._lists(space))
        quantizer = faiss.IndexFlat(space.dims, self._metric)
        quantizer.add(rotation.apply(centroids))
        return quantizer, seconds

    def _fill(self, inner: FaissIndex, rotation: Transform, space: Space) -> float:
        """Train the codes and add all rows; returns FAISS's seconds."""
        watch = Stopwatch()
        points = space.sample(self.sweep.training_rows, self.sweep.seed)
        with watch:
            inner.train(rotation.apply(points))
        for chunk in space.rows():
            with watch:
                inner.add(rotation.apply(chunk))
        return watch.seconds

    @cached_property
    def _reduced(self) -> Space:
        return reduced_space(self.workload, self.database, self.sweep)

    @property
    def _metric(self) -> int:
        inner_product = self.workload.metric == "ip"
        return int(faiss.METRIC_INNER_PRODUCT if inner_product else faiss.METRIC_L2)

    @property
    def _family(self) -> str:
        return "faiss" if self.model is None else "rigid"


def most_rabitq_bits(dims: int, size: int) -> int:
    """Bits a dim of the longest RaBitQ code of `dims` dims in `size` bytes, counting its factors; 0 if none fits."""
    fitting = [
        bits
        for bits in range(1, RABITQ_MOST_BITS + 1)
        if faiss.RaBitQuantizer(dims, faiss.METRIC_L2, bits).code_size <= size
    ]
    return max(fitting, default=0)
