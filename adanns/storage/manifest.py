"""What a folder's manifest says, in versions 2 and 3 of the format (docs/format.md)."""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adanns.errors import CorruptIndexError, IncompatibleVersionError
from adanns.storage.header import FORMAT, read_header

MANIFEST = "manifest.json"
SEGMENTS, REMOVED = "segment-*.safetensors", "removed-*.safetensors"
WHOLE, CHANGED = 2, 3  # versions: of one segment as it was built, and of what changes made of it


@dataclass(frozen=True)
class Entry:
    """The files of one segment: its arrays, and which of its rows are removed, if any are."""

    arrays: str
    removed: str | None = None


@dataclass(frozen=True)
class Learnt:
    """What an index learnt from, and how much came since (see adanns.indexes.snapshot.Origin)."""

    rows: int
    imbalance: float
    added: int


@dataclass(frozen=True)
class Manifest:
    """Kind and parameters (JSON) of an index and its segments, the first of which holds what was learnt.

    learnt: None where it is all that the first segment holds.
    """

    kind: str
    parameters: str
    segments: tuple[Entry, ...]
    learnt: Learnt | None = None

    @property
    def files(self) -> set[str]:
        """All that the folder must hold."""
        names = (name for entry in self.segments for name in (entry.arrays, entry.removed))
        return {name for name in names if name is not None}

    def to_json(self) -> str:
        """In the oldest version that can say it, so that older readers are left out only where they must be."""
        content: dict[str, Any] = {"format": FORMAT, "version": WHOLE, "kind": self.kind}
        content["parameters"] = json.loads(self.parameters)
        if self.learnt is None and len(self.segments) == 1 and self.segments[0].removed is None:
            content["segments"] = [self.segments[0].arrays]
        else:
            content["version"] = CHANGED
            content["learnt"] = None if self.learnt is None else vars(self.learnt)
            content["segments"] = [vars(entry) for entry in self.segments]
        return json.dumps(content, indent=1)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder that has one."""
    path = folder / MANIFEST
    content, version = read_header(path, "the manifest")
    if version not in (WHOLE, CHANGED):
        raise IncompatibleVersionError(
            f"{folder} has format version {version}; this adanns reads versions 1, {WHOLE} and {CHANGED}"
        )
    try:
        kind, parameters, named = content["kind"], json.dumps(content["parameters"]), content["segments"]
        if not isinstance(kind, str):
            raise TypeError(f"kind {kind!r}")
        if version == WHOLE:
            (name,) = named
            return Manifest(kind, parameters, (Entry(_checked_name(name, SEGMENTS)),))
        return Manifest(kind, parameters, _checked_entries(named), _checked_learnt(content["learnt"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptIndexError(f"{path} does not describe an index: {error!r}") from error


def _checked_entries(named: Sequence[Any]) -> tuple[Entry, ...]:
    entries = []
    for names in named:
        removed = names["removed"]
        arrays = _checked_name(names["arrays"], SEGMENTS)
        entries.append(Entry(arrays, None if removed is None else _checked_name(removed, REMOVED)))
    if not entries or len({entry.arrays for entry in entries}) < len(entries):
        raise ValueError("there are no segments, or one of them twice")
    return tuple(entries)


def _checked_name(name: Any, pattern: str) -> str:
    if not isinstance(name, str) or Path(name).name != name or not Path(name).match(pattern):
        raise ValueError(f"{name!r} is not the name of a file like {pattern}")
    return name


def _checked_learnt(learnt: Any) -> Learnt | None:
    if learnt is None:
        return None
    found = Learnt(operator.index(learnt["rows"]), float(learnt["imbalance"]), operator.index(learnt["added"]))
    if found.rows < 0 or found.added < 0 or not 0 <= found.imbalance < float("inf"):
        raise ValueError(f"learnt {found}")
    return found
