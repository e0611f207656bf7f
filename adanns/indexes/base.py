"""What all index classes share: an index is named arrays and frozen parameters; a search is one native call."""

from __future__ import annotations

import copy
import dataclasses
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from adanns import cuda
from adanns.arrays import Arrays, checked_id_set, checked_radius, checked_threads
from adanns.cuda.device_copy import DeviceCopy
from adanns.cuda.stored import DeviceArrays
from adanns.errors import DuplicateIdError, NotBuiltError, UnknownIdError
from adanns.indexes import changes
from adanns.indexes.built import Built, bands_of, bundle
from adanns.indexes.health import Health, health_of
from adanns.indexes.saving import restored, stored_of
from adanns.indexes.searching import range_search_snapshot
from adanns.indexes.snapshot import Origin, Segment, Snapshot
from adanns.ladder import Band, checked_rung, plan_planes
from adanns.parameters import IndexParameters
from adanns.planes import PlaneBuilder
from adanns.progress import Progress, ProgressCallback
from adanns.results import RangeResult
from adanns.storage.folder import Stored, write_index
from adanns.workspace import Workspace

P = TypeVar("P", bound=IndexParameters)
I = TypeVar("I", bound="Index[Any]")  # noqa: E741


class Index(ABC, Generic[P]):
    """Base of the index classes. Searches may run in many threads at once, with different dims."""

    kind: ClassVar[str]  # names the class in a saved index
    parameters_type: ClassVar[type[IndexParameters]]

    def __init__(self, parameters: P) -> None:
        self._asked = parameters  # as given: without a ladder, each build takes the default of its vectors
        self._parameters = parameters
        self._set_up()

    def _set_up(self) -> None:
        self._snapshot: Snapshot | None = None  # replaced as a whole: a search sees one, whatever other threads change
        self._changing = threading.RLock()  # held by whoever makes the next snapshot
        self._files: tuple[Path, WeakKeyDictionary[Built, str]] | None = None  # a folder, and what it holds

    @property
    def parameters(self) -> P:
        """How this index is built; after `build`, with the ladder that was used."""
        return self._parameters

    @property
    def rows(self) -> int:
        """Vectors held, without those removed."""
        return self._need_snapshot().rows

    @property
    def dims(self) -> int:
        """Dimensions of a whole vector."""
        return self._need_snapshot().first.dims

    @property
    def ladder(self) -> tuple[int, ...]:
        """Dims that a search may use."""
        return self._need_snapshot().first.ladder

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Everything that the index is, by name (docs/format.md); not to be written to.

        Raises ValueError where it was changed since it was built or compacted, and is more than one dict of arrays.
        """
        snapshot = self._need_snapshot()
        if not snapshot.whole:
            raise ValueError(
                f"the index has {len(snapshot.segments)} segments and {snapshot.stored_rows - snapshot.rows} removed "
                f"rows; call compact() before its arrays are read, or read those of `segments`"
            )
        return MappingProxyType(snapshot.first.arrays)

    @property
    def segments(self) -> tuple[Mapping[str, NDArray[Any]], ...]:
        """The arrays of every segment, by name, removed rows among them; what was learnt is the same in all."""
        return tuple(MappingProxyType(segment.built.arrays) for segment in self._need_snapshot().segments)

    @property
    def bytes_per_vector(self) -> float:
        """Bytes of all arrays, removed rows among them, divided by rows."""
        snapshot = self._need_snapshot()
        own = [changes.own_arrays(part.built, first=i == 0) for i, part in enumerate(snapshot.segments)]
        return sum(array.nbytes for arrays in own for array in arrays.values()) / max(1, snapshot.rows)

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

        vectors: float32 or float16 (rows, dims) - an array, an np.memmap, or an iterable of chunks, each a matrix or a
            pair (matrix, ids). float64 is converted. Nothing changes where an error is raised.
        ids: unique integers, one per row: any int64 but -1, which means missing. Default 0 ... rows - 1.
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
        with self._changing, Progress(progress) as shown:
            workers = checked_threads(threads)
            builder = PlaneBuilder(
                parameters.metric,
                parameters.ladder,
                self._plan,
                workers,
                workspace=workspace,
                working_bytes=self._working_bytes,
            )
            builder.pack(vectors, ids, shown)
            organise(builder, shown, workers)
            if parameters.precision is None:
                builder.drop_planes()
            else:
                builder.add_terms()
            resolved = dataclasses.replace(parameters, ladder=builder.ladder)
            built = bundle(resolved, builder.arrays)
            self._snapshot = Snapshot((Segment(built),), Origin.of(built))
            self._parameters = resolved
        return self

    def add(
        self: I,
        vectors: Any,
        ids: Any = None,
        *,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
    ) -> I:
        """Add vectors, with what the index learnt when it was built; returns the index. Searches may go on meanwhile.

        vectors, threads, progress: as in `build`. int8 values beyond the extent of the rows built from are clipped.
        ids: default: the numbers after the largest id so far. Raises DuplicateIdError where the index holds one; then,
            as with any error, nothing has changed.
        """
        return self._add(vectors, ids, threads, progress, replace=False)

    def upsert(
        self: I,
        vectors: Any,
        ids: Any,
        *,
        threads: int | None = None,
        progress: bool | ProgressCallback | None = None,
    ) -> I:
        """Add vectors in place of those with the same ids, where there are any; a search sees all of it or nothing.

        Otherwise as `add`.
        """
        return self._add(vectors, ids, threads, progress, replace=True)

    def _add(
        self: I,
        vectors: Any,
        ids: Any,
        threads: int | None,
        progress: bool | ProgressCallback | None,
        *,
        replace: bool,
        routing_vectors: Any = None,
    ) -> I:
        with self._changing, Progress(progress) as shown:
            snapshot, workers = self._snapshot_to_change(), checked_threads(threads)
            first = snapshot.first
            builder = PlaneBuilder(self._asked.metric, first.ladder, self._plan, workers, learnt=first.arrays)
            first_id = 1 + max(segment.built.largest_id for segment in snapshot.segments)
            builder.pack(vectors, ids, shown, first_id=max(0, first_id))
            points = self._routing_points(first, builder.rows, routing_vectors, workers)
            without, held = snapshot.without(np.sort(builder.arrays["ids"]))
            if held.any() and not replace:
                taken = np.sort(builder.arrays["ids"])[held]
                others = f", and so are {len(taken) - 1} others" if len(taken) > 1 else ""
                raise DuplicateIdError(f"id {taken[0]} is in the index already{others}; upsert takes their place")
            new = changes.encoded(first, self._parameters, builder, points, shown, workers)
            self._snapshot = self._with_small_ones_merged(without.with_added(new))
        return self

    def _with_small_ones_merged(self, snapshot: Snapshot) -> Snapshot:
        count = changes.small_tail(snapshot)
        if count < 2:
            return snapshot
        kept, tail = snapshot.segments[:-count], snapshot.segments[-count:]
        one = changes.merged(tail, snapshot.first, self._parameters)
        return Snapshot((*kept, Segment(one)), snapshot.origin)

    def remove(self, ids: Any, *, missing: Literal["raise", "ignore"] = "raise") -> int:
        """Remove rows by id; returns how many there were. They are never returned again, and stored until `compact`.

        ids: one id, or an array, list, set or range of them.
        missing: what to do about ids that the index does not hold: "raise" UnknownIdError and change nothing, or
            "ignore" them.
        """
        if missing not in ("raise", "ignore"):
            raise ValueError(f"missing is {missing!r}; choose 'raise' or 'ignore'")
        wanted = checked_id_set(ids, "ids")
        with self._changing:
            snapshot, found = self._snapshot_to_change().without(wanted)
            if missing == "raise" and not found.all():
                unknown = wanted[~found]
                others = f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else ""
                raise UnknownIdError(
                    f"id {unknown[0]} is not in the index{others}; nothing was removed: pass missing='ignore' to "
                    f"remove what there is"
                )
            self._snapshot = snapshot.without_empty_segments()
        return int(found.sum())

    def compact(self: I) -> I:
        """Make the index one segment without its removed rows; returns it. Nothing is learnt again, so results stay.

        Needs memory for a second copy of the rows that stay. Searches may go on meanwhile.
        """
        with self._changing:
            snapshot = self._snapshot_to_change()
            if not snapshot.whole:
                one = changes.merged(snapshot.segments, snapshot.first, self._parameters)
                self._snapshot = Snapshot((Segment(one),), snapshot.origin)
        return self

    def health(self) -> Health:
        """How much is removed, added or out of balance, and whether to compact or rebuild."""
        return health_of(self._need_snapshot())

    def range_search(
        self, queries: Any, radius: float, *, dims: int | None = None, filter: Any = None, threads: int | None = None
    ) -> RangeResult:
        """Every row within a distance of `radius`, nearest first, for each query.

        dims: prefix at which rows are measured; None: all, or what is coded where codes are all there is.
        filter: ids that may be returned (see adanns.Filter).
        """
        snapshot = self._need_snapshot()
        at = self._rung(snapshot.first, dims, snapshot.first.measured_dims, "dims")
        return range_search_snapshot(snapshot, queries, checked_radius(radius), dims=at, threads=threads, filter=filter)

    def to(self: I, device: Literal["cpu", "cuda"]) -> I:
        """The same index on another device, from where `search` is called as before.

        cuda: a copy on cupy's current device, compacted if it was changed. Queries of numpy give results of numpy;
            those of cupy and torch are read where they are, without waiting for them, and results come back in their
            library. Searches only: change `index.to("cpu")`, which costs nothing, since the arrays stay here too.
            Raises RuntimeError where there is no GPU, saying why, MemoryError where it has too little memory.
        """
        if device not in ("cpu", "cuda"):
            raise ValueError(f"device={device!r}; choose 'cpu' or 'cuda'")
        snapshot = self._need_snapshot()
        if (snapshot.device is not None) == (device == "cuda"):
            return self
        other = copy.copy(self)
        other._set_up()
        other._snapshot = Snapshot(snapshot.segments, snapshot.origin)
        if device == "cpu":
            return other
        if not snapshot.whole:
            other.compact()
            snapshot = other._need_snapshot()
        memory, module = cuda.current_device()
        built, bands = snapshot.first, bands_of(self._parameters)
        copied = DeviceCopy(DeviceArrays(built.arrays, bands, built.ladder, self._parameters.metric, memory, module))
        other._snapshot = Snapshot(snapshot.segments, snapshot.origin, copied)
        return other

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder; `adanns.load` reads it back.

        The folder may hold an older index: after a crash at any point it holds that one or the new one, whole. Segments
        that it holds already are not written again. Raises FileExistsError where it holds something else,
        IndexLockedError while another process saves there.
        """
        with self._changing:
            snapshot, place = self._need_snapshot(), Path(folder).absolute()
            known = self._files[1] if self._files is not None and self._files[0] == place else None
            self._keep_files(place, write_index(place, stored_of(self.kind, self._parameters, snapshot, known)))

    def _keep_files(self, place: Path, names: Sequence[str]) -> None:
        files: WeakKeyDictionary[Built, str] = WeakKeyDictionary()
        for segment, name in zip(self._need_snapshot().segments, names, strict=True):
            files[segment.built] = name
        self._files = (place, files)

    @classmethod
    def restore(cls: type[I], stored: Stored, folder: Path, memory_dims: int | None = None) -> I:
        """The index that `save` wrote to a folder. memory_dims: see adanns.load."""
        parameters = cls.parameters_type.from_json(stored.parameters)
        index = cls._of_snapshot(parameters, restored(stored, parameters, memory_dims))
        index._keep_files(folder, [part.file for part in stored.parts])
        return index

    @classmethod
    def of_arrays(cls: type[I], parameters: P, arrays: Arrays) -> I:
        """The index that these arrays are. Raises ValueError, KeyError or TypeError where they do not fit."""
        built = bundle(parameters, arrays)
        return cls._of_snapshot(parameters, Snapshot((Segment(built),), Origin.of(built)))

    @classmethod
    def _of_snapshot(cls: type[I], parameters: P, snapshot: Snapshot) -> I:
        index = cls.__new__(cls)
        index._asked = index._parameters = parameters
        index._set_up()
        index._snapshot = snapshot
        if parameters.codes_suffice and not snapshot.first.table_rungs:
            raise ValueError("it holds no codes")
        index._check_dims(snapshot.first.ladder)
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

    def _routing_points(
        self, first: Built, rows: int, routing_vectors: Any, threads: int
    ) -> NDArray[np.float32] | None:
        """What new rows are put into lists by, where that is not their own prefix."""
        return None

    def _need_snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise NotBuiltError(f"{type(self).__name__} holds nothing yet: call build(vectors) first")
        return self._snapshot

    def _snapshot_to_change(self) -> Snapshot:
        snapshot = self._need_snapshot()
        if snapshot.device is not None:
            raise ValueError("this index is a copy on a GPU: change index.to('cpu'), then copy that one")
        return snapshot

    def _need_built(self) -> Built:
        return self._need_snapshot().first

    def _rung(self, built: Built, value: int | None, default: int, name: str) -> int:
        return default if value is None else checked_rung(value, built.ladder, name)

    def __repr__(self) -> str:
        state = "empty" if self._snapshot is None else f"{self.rows} rows x {self.dims} dims"
        return f"{type(self).__name__}({state}, {self._parameters})"
