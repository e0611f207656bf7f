"""How an index is built: frozen, comparable, JSON both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

from adanns.arrays import checked_count, checked_seed
from adanns.ladder import (
    Metric,
    Precision,
    ScalarType,
    checked_ladder,
    checked_metric,
    checked_precision,
    checked_rungs,
)

P = TypeVar("P", bound="IndexParameters")
CODE_BITS = (4, 8)
MOST_SEGMENTS = 256  # of a code: their 8-bit table entries are added in 16 bits


@dataclass(frozen=True)
class IndexParameters:
    """What every index is built with.

    metric: "l2", "ip" or "cosine"; cosine at a prefix is that of the renormalised prefix.
    ladder: the dims that are embeddings, ending at all of them; None until built means the default ladder.
    precision: number type of the stored planes, or {dims up to: type}. None, where an index can do with codes alone,
        keeps no planes.
    """

    codes_suffice: ClassVar[bool] = False

    metric: Metric = "cosine"
    ladder: tuple[int, ...] | None = None
    precision: Precision | None = "float16"

    def __post_init__(self) -> None:
        checked_metric(self.metric)
        object.__setattr__(self, "ladder", checked_ladder(self.ladder))
        if self.precision is None and self.codes_suffice:
            return
        precision = checked_precision(self.precision)
        if isinstance(precision, Mapping):
            object.__setattr__(self, "precision", dict(sorted(precision.items())))

    def to_json(self) -> str:
        """One line of JSON that `from_json` of the same class reads back equal."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls: type[P], text: str) -> P:
        """The parameters that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"{cls.__name__} are {text}; expected a JSON object")
        unknown = set(fields) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {sorted(unknown)}")
        for name in ("ladder", "prefixes"):
            if fields.get(name) is not None:
                fields[name] = tuple(fields[name])
        if isinstance(fields.get("precision"), dict):
            fields["precision"] = {int(dims): type_ for dims, type_ in fields["precision"].items()}
        return cls(**fields)


@dataclass(frozen=True)
class ExactParameters(IndexParameters):
    """Exact search: nothing beside the planes."""

    precision: Precision | None = "float32"


def _set_count(parameters: IndexParameters, name: str, least: int = 1) -> None:
    object.__setattr__(parameters, name, checked_count(getattr(parameters, name), name, least))


def _checked_scan_precision(scan_precision: ScalarType | None) -> None:
    if scan_precision not in ("int8", None):
        raise ValueError(f"scan_precision is {scan_precision!r}; choose 'int8', or None to scan the planes themselves")


@dataclass(frozen=True)
class FunnelParameters(IndexParameters):
    """Adaptive retrieval (MRL, section 4.2): a shortlist at `shortlist_dims`, then a cascade of rungs.

    scan_precision: "int8" keeps a compact code of the shortlist's prefix beside the planes; None scans the planes.
    """

    shortlist_dims: int = 16
    scan_precision: ScalarType | None = "int8"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked_scan_precision(self.scan_precision)
        _set_count(self, "shortlist_dims")


@dataclass(frozen=True)
class ListParameters(IndexParameters):
    """Rows in lists, clustered on `cluster_dims` (AdANNS, section 4.1).

    lists: how many; None picks about 4 sqrt(rows).
    points_per_list: rows per list in the k-means sample, whose `iterations` are seeded by `seed`.
    """

    cluster_dims: int = 64
    lists: int | None = None
    seed: int = 0
    iterations: int = 10
    points_per_list: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("cluster_dims", "iterations", "points_per_list"):
            _set_count(self, name)
        if self.lists is not None:
            _set_count(self, "lists")
        object.__setattr__(self, "seed", checked_seed(self.seed))


@dataclass(frozen=True)
class IVFParameters(ListParameters):
    """AdANNS-IVF (AdANNS, section 4.1): lists scanned on `scan_dims`. scan_precision: as in FunnelParameters."""

    scan_dims: int = 64
    scan_precision: ScalarType | None = "int8"

    def __post_init__(self) -> None:
        super().__post_init__()
        _set_count(self, "scan_dims")
        _checked_scan_precision(self.scan_precision)


class _EqualSegments:
    """What follows from a number of bytes that equal segments fill."""

    code_bytes: int
    bits: int

    @property
    def code_bits(self) -> int:
        """Of a codebook."""
        return self.bits

    @property
    def segments(self) -> int:
        """Segments of a code."""
        return self.code_bytes * 8 // self.bits


@dataclass(frozen=True)
class OPQParameters(_EqualSegments, IndexParameters):
    """AdANNS-OPQ (AdANNS, section 4.2): product-quantised codes of a prefix of `scan_dims` dims, all rows compared.

    code_bytes: bytes per code: a segment of 8 `bits` each, or two of 4. Segments are equal, so they divide `scan_dims`.
    rotations: turns of the rotation when the code is learnt, from `training_rows` rows drawn by `seed`.
    """

    codes_suffice = True

    scan_dims: int = 64
    code_bytes: int = 16
    bits: int = 8
    rotations: int = 10
    seed: int = 0
    training_rows: int = 65536

    def __post_init__(self) -> None:
        super().__post_init__()
        _set_count(self, "scan_dims")
        _check_equal_segments(self)


@dataclass(frozen=True)
class IVFOPQParameters(_EqualSegments, ListParameters):
    """AdANNS-IVFOPQ (AdANNS, section 4.2): such codes, in lists.

    residual: code what is left of a row without the mean of its list.
    """

    codes_suffice = True

    scan_dims: int = 64
    code_bytes: int = 16
    bits: int = 8
    residual: bool = True
    rotations: int = 10
    training_rows: int = 65536

    def __post_init__(self) -> None:
        super().__post_init__()
        _set_count(self, "scan_dims")
        if not isinstance(self.residual, bool):
            raise TypeError(f"residual is {self.residual!r}; expected a bool")
        _check_equal_segments(self)


@dataclass(frozen=True)
class CompactParameters(ListParameters):
    """Codes of residuals in lists, in `bytes_per_vector` bytes: everything else is chosen where it is None.

    bytes_per_vector: of a code. Ids, and planes where there are any, come on top.
    scan_dims: prefix that is coded; None: the first rung of at least 8 dims a byte where planes are kept to rerank by,
        of 16 for codes alone.
    bits: of a codebook; None: 4, the faster scan, where planes are kept to rerank by, else 8, the more accurate one.
    prefixes: rungs below `scan_dims` that a search may scan instead. Each band between them is rotated on its own and
        gets the segments that take away most of the distortion; without any, all dims are rotated together.
    """

    codes_suffice = True

    bytes_per_vector: int = 16
    scan_dims: int | None = None
    bits: int | None = None
    prefixes: tuple[int, ...] = ()
    rotations: int = 10
    training_rows: int = 65536

    def __post_init__(self) -> None:
        super().__post_init__()
        _set_count(self, "bytes_per_vector")
        if self.scan_dims is not None:
            _set_count(self, "scan_dims")
        prefixes = checked_rungs(self.prefixes, "prefixes")
        object.__setattr__(self, "prefixes", prefixes)
        _check_code(self)
        if self.segments > MOST_SEGMENTS:
            raise ValueError(
                f"bytes_per_vector={self.bytes_per_vector} are {self.segments} segments of {self.code_bits} bits; "
                f"a code has {MOST_SEGMENTS} at most"
            )
        if self.segments <= len(prefixes):
            raise ValueError(
                f"bytes_per_vector={self.bytes_per_vector} are {self.segments} segments of {self.code_bits} bits, too "
                f"few for prefixes={prefixes} and what is beyond them"
            )

    @property
    def code_bits(self) -> int:
        """`bits`, or the choice."""
        if self.bits is not None:
            return self.bits
        return 8 if self.precision is None else 4

    @property
    def segments(self) -> int:
        """Segments of a code."""
        return self.bytes_per_vector * 8 // self.code_bits


CodeParameters: TypeAlias = OPQParameters | IVFOPQParameters | CompactParameters


def _check_equal_segments(parameters: OPQParameters | IVFOPQParameters) -> None:
    _check_code(parameters)
    _set_count(parameters, "code_bytes")
    segments, segments_per_byte = parameters.segments, 8 // parameters.bits
    if parameters.scan_dims % segments or segments > MOST_SEGMENTS:
        fitting = [
            size
            for size in range(1, min(parameters.scan_dims, MOST_SEGMENTS) // segments_per_byte + 1)
            if parameters.scan_dims % (size * segments_per_byte) == 0
        ]
        raise ValueError(
            f"code_bytes={parameters.code_bytes} of {parameters.bits} bits are {segments} segments, which do not "
            f"divide scan_dims={parameters.scan_dims} into equal parts; code_bytes that do: {fitting or 'none'}"
        )


def _check_code(parameters: CodeParameters) -> None:
    """What all learnt codes have."""
    _set_count(parameters, "training_rows")
    _set_count(parameters, "rotations", least=0)
    object.__setattr__(parameters, "seed", checked_seed(parameters.seed))
    if parameters.code_bits not in CODE_BITS:
        raise ValueError(f"bits={parameters.bits!r}; a codebook has 4 or 8")
