"""What all index classes share: an index is named arrays and frozen parameters; a search is one native call."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import Arrays, Stages, checked_queries, checked_stages, checked_threads
from adanns.errors import NotBuiltError
from adanns.indexes.table_codes import table_code_tuple
from adanns.ladder import Band, checked_rung, plan_planes
from adanns.parameters import IndexParameters
from adanns.planes import PlaneBuilder, plane_tuples
from adanns.progress import Progress, ProgressCallback
from adanns.results import SearchResult
from adanns.storage.folder import write_index
from adanns.storage.placement import placed
from adanns.workspace import Workspace

SHORTLIST = 100  # candidates kept of the scan by default
RERANK_GROWTH = 4  # the default cascade's middle stage: four times the scan's dims
LAST_STAGE = 20  # candidates that the default cascade compares at all dims
P = TypeVar("P", bound=IndexParameters)
I = TypeVar("I", bound="Index[Any]")  # noqa: E741


@dataclass(frozen=True)
class Built:
    """One built index: replaced as a whole, so that a search sees either the old one or the new one."""

    arrays: Arrays
    ladder: tuple[int, ...]
    code_dims: int  # prefix of the int8 codes; 0 where there are none
    table_rungs: tuple[int, ...]  # prefixes that the table code can be searched at
    lists: int  # 0 where rows are not in lists
    centroid_dims: int
    view: _core.IndexView

    @property
    def rows(self) -> int:
        """Vectors held."""
        return len(self.arrays["ids"])

    @property
    def dims(self) -> int:
        """Dimensions of a whole vector."""
        return self.ladder[-1]

    @property
    def codes_alone(self) -> bool:
        """Whether there are no planes."""
        return "plane_0" not in self.arrays

    def scan_of(self, dims: int) -> Literal["planes", "code", "tables"]:
        """What a scan at a prefix reads."""
        if dims in self.table_rungs:
            return "tables"
        if self.codes_alone:
            raise ValueError(f"scan_dims={dims}: this index keeps codes alone, and can scan at {self.table_rungs} dims")
        return "code" if dims <= self.code_dims else "planes"


@dataclass(frozen=True)
class OnDisk:
    """A built index and the file of a folder that holds its arrays: of another one, built since, it says nothing."""

    built: Built
    folder: Path
    file: str


def bands_of(parameters: IndexParameters) -> tuple[Band, ...]:
    """The planes of a built index with these parameters."""
    if parameters.ladder is None:
        raise ValueError("the parameters of a built index name its ladder")
    return plan_planes(parameters.ladder, parameters.precision) if parameters.precision is not None else ()


def bundle(parameters: IndexParameters, arrays: Arrays) -> Built:
    """The views of an index's arrays, made once."""
    bands, ladder = bands_of(parameters), parameters.ladder or ()
    for number, band in enumerate(bands):
        if arrays[f"plane_{number}"].dtype != band.type:
            raise ValueError(f"plane_{number} is of {arrays[f'plane_{number}'].dtype}, not {band.type}")
    code = lists = table_code = None
    if "code_blocks" in arrays:
        code = (len(arrays["code_scales"]), arrays["code_blocks"], arrays["code_scales"], arrays["code_offsets"])
    table_rungs: tuple[int, ...] = ()
    if "table_blocks" in arrays:
        table_code = table_code_tuple(arrays)
        table_rungs = tuple(arrays["table_rungs"][:, 0].tolist())
    centroid_dims = len(arrays["centroid_scales"]) if "centroid_scales" in arrays else 0
    if "list_offsets" in arrays:
        centroid_code = (
            centroid_dims,
            arrays["centroid_blocks"],
            arrays["centroid_scales"],
            arrays["centroid_offsets"],
        )
        lists = (arrays["list_offsets"], centroid_code, arrays["centroid_ladder"], arrays.get("centroid_terms"))
    view = _core.IndexView(
        metric=parameters.metric,
        ladder=np.array(ladder, np.int32),
        planes=plane_tuples(bands, arrays),
        terms=arrays.get("terms"),
        ids=arrays["ids"],
        code=code,
        lists=lists,
        table_code=table_code,
        zero_rows=arrays.get("zero_rows"),
    )
    count = len(arrays["list_offsets"]) - 1 if lists is not None else 0
    return Built(arrays, ladder, code[0] if code is not None else 0, table_rungs, count, centroid_dims, view)


class Index(ABC, Generic[P]):
    """Base of the index classes. Searches may run in many threads at once, with different dims."""

    kind: ClassVar[str]  # names the class in a saved index
    parameters_type: ClassVar[type[IndexParameters]]

    def __init__(self, parameters: P) -> None:
        self._asked = parameters  # as given: without a ladder, each build takes the default of its vectors
        self._parameters = parameters
        self._built: Built | None = None
        self._stored: OnDisk | None = None

    @property
    def parameters(self) -> P:
        """How this index is built; after `build`, with the ladder that was used."""
        return self._parameters

    @property
    def rows(self) -> int:
        """Vectors held."""
        return self._need_built().rows

    @property
    def dims(self) -> int:
        """Dimensions of a whole vector."""
        return self._need_built().dims

    @property
    def ladder(self) -> tuple[int, ...]:
        """Dims that a search may use."""
        return self._need_built().ladder

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Everything that the index is, by name (docs/format.md); not to be written to."""
        return MappingProxyType(self._need_built().arrays)

    @property
    def bytes_per_vector(self) -> float:
        """Bytes of all arrays, divided by rows."""
        built = self._need_built()
        return sum(array.nbytes for array in built.arrays.values()) / built.rows

    def build(
        self: I,
        vectors: Any,
        ids: Any = None,
        *,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
        memory_budget: int | None = None,
        scratch: str | Path | None = None,
    ) -> I:
        """Index `vectors`, replacing what was there; returns the index.

        vectors: float32 or float16 (rows, dims) - an array, an np.memmap, or an iterator of chunks, each a matrix or a
            pair (matrix, ids). float64 is converted. Nothing changes where an error is raised.
        ids: unique non-negative integers, one per row; default 0 ... rows - 1.
        threads: None takes every CPU this process may use. progress: None, a bool, or a callable (what, done, total).
        memory_budget: bytes that the build may take. Where the index does not fit in them it is made in files, of which
            the arrays are then maps, bit for bit the same; np.memmap and iterators are read in chunks that fit.
        scratch: folder for those files, which have no names and leave nothing behind. Default: the system's temporary
            one - on some systems that is memory, so name one on a disk with room for twice the index.
        """
        return self._build(vectors, ids, threads, progress, self._organise, Workspace(memory_budget, scratch))

    def _build(
        self: I,
        vectors: Any,
        ids: Any,
        threads: int | None,
        progress: bool | ProgressCallback | None,
        organise: Callable[[PlaneBuilder, Progress, int], None],
        workspace: Workspace,
    ) -> I:
        parameters = self._asked
        with Progress(progress) as shown:
            workers = checked_threads(threads)
            builder = PlaneBuilder(
                parameters.metric, parameters.ladder, self._plan, workers, workspace, self._working_bytes
            )
            builder.pack(vectors, ids, shown)
            organise(builder, shown, workers)
            if parameters.precision is None:
                builder.drop_planes()
            else:
                builder.add_terms()
        resolved = dataclasses.replace(parameters, ladder=builder.ladder)
        self._built = bundle(resolved, builder.arrays)
        self._parameters = resolved
        return self

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder; `adanns.load` reads it back.

        The folder may hold an older index: after a crash at any point it holds that one or the new one, whole. Arrays
        that it holds already are not written again. Raises FileExistsError where it holds something else,
        IndexLockedError while another process saves there.
        """
        built, place, stored = self._need_built(), Path(folder).absolute(), self._stored
        known = stored.file if stored is not None and stored.built is built and stored.folder == place else None
        file = write_index(place, self.kind, self._parameters.to_json(), built.arrays, known=known)
        self._stored = OnDisk(built, place, file)

    @classmethod
    def restore(
        cls: type[I], parameters: str, arrays: Arrays, folder: Path, file: str, memory_dims: int | None = None
    ) -> I:
        """The index that `save` wrote, from its parameters and arrays, which a file of a folder holds.

        memory_dims: see adanns.load.
        """
        asked = cls.parameters_type.from_json(parameters)
        if memory_dims is not None:
            arrays = placed(arrays, bands_of(asked), memory_dims)
        index = cls.of_arrays(asked, arrays)
        index._stored = OnDisk(index._need_built(), folder, file)
        return index

    @classmethod
    def of_arrays(cls: type[I], parameters: P, arrays: Arrays) -> I:
        """The index that these arrays are. Raises ValueError, KeyError or TypeError where they do not fit."""
        index = cls.__new__(cls)
        index._asked = index._parameters = parameters
        index._stored = None
        index._built = bundle(parameters, arrays)
        if parameters.codes_suffice and not index._built.table_rungs:
            raise ValueError("it holds no codes")
        index._check_dims(index._built.ladder)
        return index

    def _plan(self, ladder: tuple[int, ...]) -> tuple[Band, ...]:
        """The planes of vectors with this ladder, or the prefix that codes are made of where only they are kept."""
        self._check_dims(ladder)
        precision = self._asked.precision
        return (Band(0, self._read_dims(ladder), "float32"),) if precision is None else plan_planes(ladder, precision)

    def _read_dims(self, ladder: Sequence[int]) -> int:
        """Prefix that a build reads."""
        return ladder[-1]

    def _working_bytes(self, rows: int, ladder: tuple[int, ...]) -> int:
        """Memory that it takes to organise so many rows, wherever the planes are."""
        return 0

    @abstractmethod
    def _check_dims(self, ladder: Sequence[int]) -> None:
        """Raise where a search's default dims are not on the ladder."""

    @abstractmethod
    def _organise(self, builder: PlaneBuilder, progress: Progress, threads: int) -> None:
        """Order the rows and add the arrays of this class."""

    def _need_built(self) -> Built:
        if self._built is None:
            raise NotBuiltError(f"{type(self).__name__} holds nothing yet: call build(vectors) first")
        return self._built

    def _search(
        self,
        built: Built,
        queries: Any,
        k: int,
        *,
        scan_dims: int,
        rerank: Any,
        threads: int | None,
        probes: int = 0,
        routing_dims: int = 0,
        routing_queries: NDArray[np.float32] | None = None,
    ) -> SearchResult:
        """Route -> scan -> rerank -> top-k in one native call. `k`, `probes` and dims are checked already."""
        workers = checked_threads(threads)
        rows = checked_queries(queries, built.dims)
        scan = built.scan_of(scan_dims)
        stages = checked_stages(rerank, built.ladder, scan_dims, k) if rerank is not None else ()
        if stages and built.codes_alone:
            raise ValueError(f"rerank={rerank}: this index keeps codes alone; build it with a precision to rerank")
        if scan != "planes" and not stages:
            stages = ((scan_dims, 2 * k + 32),)  # a scan of codes only chooses; what is returned is measured in floats
        distances, ids, counts, scanned, rescored = built.view.search(
            rows, k, scan_dims, scan, probes, routing_dims, stages, workers, routing_queries
        )
        stats = self._stats(built, len(rows), scan_dims, probes, routing_dims, stages, scanned, rescored)
        return SearchResult(distances, ids, counts, stats)

    @staticmethod
    def _stats(
        built: Built,
        queries: int,
        scan_dims: int,
        probes: int,
        routing_dims: int,
        stages: Stages,
        scanned: int,
        rescored: Sequence[int],
    ) -> tuple[tuple[str, int, int, int], ...]:
        read = [*rescored, 0]  # what the last stage keeps is counted by SearchResult, when asked
        stats = [("scan", scan_dims, scanned, read[0])]
        if probes:
            stats.insert(0, ("route", routing_dims, queries * built.lists, queries * probes))
        stats.extend(("rerank", dims, read[i], read[i + 1]) for i, (dims, _) in enumerate(stages))
        return tuple(stats)

    def _rung(self, built: Built, value: int | None, default: int, name: str) -> int:
        return default if value is None else checked_rung(value, built.ladder, name)

    def __repr__(self) -> str:
        state = "empty" if self._built is None else f"{self._built.rows} rows x {self._built.dims} dims"
        return f"{type(self).__name__}({state}, {self._parameters})"


def default_cascade(built: Built, scan_dims: int, k: int) -> list[tuple[int, int]]:
    """100 (or 4 k) candidates at the first rung of four times the scan's dims, then 20 (or 2 k) at all dims."""
    if built.codes_alone:
        return []
    middle = next((rung for rung in built.ladder if rung >= RERANK_GROWTH * scan_dims), built.dims)
    stages = [(middle, max(SHORTLIST, 4 * k))]
    if middle < built.dims:
        stages.append((built.dims, max(LAST_STAGE, 2 * k)))
    return stages
