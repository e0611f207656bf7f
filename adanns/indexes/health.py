"""How an index that is changed fares: how much of it is removed, added or out of balance, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adanns.indexes.snapshot import imbalance, unpacked

if TYPE_CHECKING:
    from adanns.indexes.snapshot import Snapshot

REMOVED_SHARE = 0.2  # of stored rows, beyond which they cost more than a compaction
MANY_SEGMENTS = 12  # each costs a search about as much as a list more
ADDED_SHARE = 0.5  # of live rows, beyond which what was learnt of the others is old
IMBALANCE_GROWTH = 1.5  # times that of the build
CLIPPED_SHARE = 0.02  # beyond it int8 tells new rows apart by much less than those it was made for


@dataclass(frozen=True)
class Health:
    """The state of an index after changes; print it.

    rows: live. removed: stored still, but never returned; `compact` drops them.
    segments: parts that searches visit one after another; `compact` makes them one.
    added: rows that came since the last build, which learnt nothing from them, as a share of the live ones.
    imbalance, built_imbalance: lists * sum of squared list sizes / rows squared, now and when built: 1 where lists are
        even, 2 where a search reads twice as much as it would then. None without lists.
    clipped: share of the int8 values of rows that were added since the last build or compaction that lie at an end of
        what int8 can say of their dimension, most of them clipped. None without int8.
    advice: "fine", "compact" or "rebuild". reason: why.
    """

    rows: int
    removed: int
    segments: int
    added: float
    imbalance: float | None
    built_imbalance: float | None
    clipped: float | None
    advice: str
    reason: str

    def __str__(self) -> str:
        lines = [
            f"rows: {self.rows} live, {self.removed} removed",
            f"segments: {self.segments}",
            f"added since the build: {self.added:.0%}",
        ]
        if self.imbalance is not None:
            lines.append(f"imbalance of lists: {self.imbalance:.2f}, {self.built_imbalance:.2f} when built")
        if self.clipped is not None:
            lines.append(f"int8 values at their limits in segments added: {self.clipped:.2%}")
        return "\n".join([*lines, f"advice: {self.advice} ({self.reason})"])


def health_of(snapshot: Snapshot) -> Health:
    """What `Index.health` reports."""
    rows, stored, origin = snapshot.rows, snapshot.stored_rows, snapshot.origin
    added = min(1.0, origin.added / rows) if rows else 0.0
    now = built = None
    if snapshot.first.lists:
        now, built = imbalance(_list_sizes(snapshot)), origin.imbalance
    clipped = _clipped(snapshot)
    advice, reason = "fine", "little has changed"
    if added > ADDED_SHARE:
        advice, reason = "rebuild", f"{added:.0%} of the rows came after what the index learnt from"
    elif now is not None and built is not None and now > IMBALANCE_GROWTH * built:
        advice, reason = "rebuild", f"lists are {now / built:.1f} times as uneven as when they were made"
    elif clipped is not None and clipped > CLIPPED_SHARE:
        advice, reason = "rebuild", f"{clipped:.0%} of the int8 values of new rows are at their limits"
    elif stored - rows > REMOVED_SHARE * stored:
        advice, reason = "compact", f"{(stored - rows) / stored:.0%} of the stored rows are removed"
    elif len(snapshot.segments) > MANY_SEGMENTS:
        advice, reason = "compact", f"searches visit {len(snapshot.segments)} segments"
    return Health(rows, stored - rows, len(snapshot.segments), added, now, built, clipped, advice, reason)


def _list_sizes(snapshot: Snapshot) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    sizes = np.zeros(snapshot.first.lists, np.int64)
    for segment in snapshot.segments:
        offsets = segment.built.arrays["list_offsets"]
        if segment.live is None:
            sizes += np.diff(offsets)
        else:
            until = np.concatenate([[0], np.cumsum(unpacked(segment))])
            sizes += np.diff(until[offsets])
    return sizes


def _clipped(snapshot: Snapshot) -> float | None:
    coded = [name.removesuffix("_scales") for name in snapshot.first.arrays if name.endswith("_scales")]
    coded = [name for name in coded if name != "centroid"]
    limits = values = 0
    for segment in snapshot.segments[1:]:
        arrays = segment.built.arrays
        for name in coded:
            # Blocks hold codes + 128. What fills up rows and blocks is code 0.
            array, ends = (arrays["code_blocks"], (1, 255)) if name == "code" else (arrays[name], (-127, 127))
            limits += sum(int(np.count_nonzero(array == end)) for end in ends)
            values += segment.built.rows * len(arrays[f"{name}_scales"])
    return limits / max(1, values) if coded else None
