"""How an index is built: frozen, comparable, JSON both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from adanns.arrays import checked_count, checked_seed
from adanns.ladder import Metric, Precision, ScalarType, checked_ladder, checked_metric, checked_precision

P = TypeVar("P", bound="IndexParameters")


@dataclass(frozen=True)
class IndexParameters:
    """What every index is built with.

    metric: "l2", "ip" or "cosine"; cosine at a prefix is that of the renormalised prefix.
    ladder: the dims that are embeddings, ending at all of them; None until built means the default ladder.
    precision: number type of the stored planes, or {dims up to: type}.
    """

    metric: Metric = "cosine"
    ladder: tuple[int, ...] | None = None
    precision: Precision = "float16"

    def __post_init__(self) -> None:
        checked_metric(self.metric)
        object.__setattr__(self, "ladder", checked_ladder(self.ladder))
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
        if fields.get("ladder") is not None:
            fields["ladder"] = tuple(fields["ladder"])
        if isinstance(fields.get("precision"), dict):
            fields["precision"] = {int(dims): type_ for dims, type_ in fields["precision"].items()}
        return cls(**fields)


@dataclass(frozen=True)
class ExactParameters(IndexParameters):
    """Exact search: nothing beside the planes."""

    precision: Precision = "float32"


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
        object.__setattr__(self, "shortlist_dims", checked_count(self.shortlist_dims, "shortlist_dims"))


@dataclass(frozen=True)
class IVFParameters(IndexParameters):
    """AdANNS-IVF (AdANNS, section 4.1): lists clustered on `cluster_dims`, scanned on `scan_dims`.

    lists: how many; None picks about 4 sqrt(rows).
    points_per_list: rows per list in the k-means sample, whose `iterations` are seeded by `seed`.
    """

    cluster_dims: int = 64
    scan_dims: int = 64
    lists: int | None = None
    scan_precision: ScalarType | None = "int8"
    seed: int = 0
    iterations: int = 10
    points_per_list: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked_scan_precision(self.scan_precision)
        for name in ("cluster_dims", "scan_dims", "lists", "iterations", "points_per_list"):
            value = getattr(self, name)
            if name != "lists" or value is not None:
                object.__setattr__(self, name, checked_count(value, name))
        object.__setattr__(self, "seed", checked_seed(self.seed))
