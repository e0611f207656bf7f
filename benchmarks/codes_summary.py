"""What codes achieve at each size: best accuracy, speed at equal recall, against codes of the rigid model."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.codes_results import OPQBuild, is_alone, is_reranked, of_size, sizes_of
from benchmarks.pareto import by_method, fastest
from benchmarks.results import Measurement, Run

RECALL_TARGETS = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
# The papers' comparison: OPQ and IVFOPQ of prefixes against those of the rigid model, and of all dims.
RIGID_PAIRS = (
    ("adanns OPQ", "FAISS OPQ, rigid model"),
    ("adanns OPQ", "FAISS OPQ, all dims"),
    ("adanns IVFOPQ", "FAISS IVFOPQ, rigid model"),
    ("adanns IVFOPQ", "FAISS IVFOPQ, all dims"),
    ("adanns Compact", "FAISS OPQ, rigid model"),
    ("adanns Compact", "FAISS IVFOPQ, rigid model"),
)
QUALITIES = ("recall10", "top1", "map10")


def summarise(measurements: Sequence[Measurement], builds: Sequence[OPQBuild], queries: int) -> dict[str, Any]:
    """JSON-able; what is in it is said at the functions that make it."""
    return {
        "best": {
            "alone": list(best_by_bytes([row for row in measurements if is_alone(row)])),
            "reranked": list(best_by_bytes([row for row in measurements if is_reranked(row)])),
        },
        "against_rigid": list(against_rigid([row for row in measurements if is_alone(row)], queries)),
        "same_rerank": list(best_recalls([row for row in measurements if is_reranked(row)])),
        "equal_recall": list(equal_recall(measurements)),
        "opq_builds": [asdict(build) for build in builds],
        "opq_at_equal_distortion": list(builds_at_equal_distortion(builds)),
    }


def summarised_anew(run: Run) -> Run:
    """A run with the summary that its measurements give now."""
    builds = [OPQBuild(**build) for build in run.summary["opq_builds"]]
    return replace(run, summary=summarise(run.measurements, builds, run.dataset["queries"]))


def best_by_bytes(measurements: Sequence[Measurement]) -> Iterator[dict[str, Any]]:
    """Each method's best accuracy at each size, by whichever prefix and probes."""
    for method, group in by_method(measurements).items():
        for size in sizes_of(group):
            rows = of_size(group, size)
            best = {quality: _best(rows, quality) for quality in QUALITIES}
            yield {
                "method": method,
                "bytes": size,
                **{quality: row and getattr(row, quality) for quality, row in best.items()},
                "parameters": {quality: row and row.parameters for quality, row in best.items()},
            }


def against_rigid(measurements: Sequence[Measurement], queries: int) -> Iterator[dict[str, Any]]:
    """Top-1 of our codes at each size, minus that of the longest codes of the rigid model (and of all dims).

    standard_error: of each top-1; the difference of two methods on the same queries has at most 1.4 times that.
    """
    groups = by_method(measurements)
    for ours, rigid in RIGID_PAIRS:
        if ours not in groups or rigid not in groups:
            continue
        longest = sizes_of(groups[rigid])[-1]
        theirs = _best(of_size(groups[rigid], longest), "top1")
        for size in sizes_of(groups[ours]):
            best = _best(of_size(groups[ours], size), "top1")
            if best is None or theirs is None or best.top1 is None or theirs.top1 is None:
                continue
            yield {
                "ours": ours,
                "bytes": size,
                "top1": best.top1,
                "parameters": best.parameters,
                "rigid": rigid,
                "rigid_bytes": longest,
                "rigid_top1": theirs.top1,
                "rigid_parameters": theirs.parameters,
                "difference": best.top1 - theirs.top1,
                "standard_error": math.sqrt(theirs.top1 * (1 - theirs.top1) / queries),
            }


def best_recalls(measurements: Sequence[Measurement]) -> Iterator[dict[str, Any]]:
    """At each size the best recall@10, ours and FAISS's, with the same rerank."""
    for size in sizes_of(measurements):
        ours, peer = (_best(_family(of_size(measurements, size), name), "recall10") for name in ("adanns", "faiss"))
        if ours is None or peer is None or ours.recall10 is None or peer.recall10 is None:
            continue
        yield {
            "bytes": size,
            "ours": ours.method,
            "our_recall": ours.recall10,
            "our_parameters": ours.parameters,
            "peer": peer.method,
            "peer_recall": peer.recall10,
            "peer_parameters": peer.parameters,
            "difference": ours.recall10 - peer.recall10,
        }


def equal_recall(measurements: Sequence[Measurement]) -> Iterator[dict[str, Any]]:
    """At each size and recall@10: the fastest of ours and of FAISS's with the same rerank, and of our cascades.

    The last target is the best recall that FAISS reaches at the size.
    """
    reranked = [row for row in measurements if is_reranked(row)]
    for size in sizes_of(reranked):
        sized = of_size(reranked, size)
        peers = _family(sized, "faiss")
        any_rerank = [row for row in of_size(measurements, size) if not is_alone(row)]
        top = max((row.recall10 for row in peers if row.recall10 is not None), default=None)
        for target in sorted({*(t for t in RECALL_TARGETS if top is None or t < top), *([top] if top else [])}):
            for cost in ("batch_us", "latency_p50_us"):
                ours, peer, free = (
                    fastest(rows, cost, "recall10", target)
                    for rows in (_family(sized, "adanns"), peers, _family(any_rerank, "adanns"))
                )
                if ours is None or peer is None:
                    continue
                yield {
                    "bytes": size,
                    "cost": cost,
                    "target": target,
                    "is_peers_best": target == top,
                    **_timed("our", ours, cost),
                    **_timed("peer", peer, cost),
                    "ratio": getattr(peer, cost) / getattr(ours, cost),
                    "cascade_ratio": getattr(peer, cost) / getattr(free, cost) if free else None,
                }


def builds_at_equal_distortion(builds: Sequence[OPQBuild]) -> Iterator[dict[str, Any]]:
    """Per shape, our fastest build whose distortion is at most FAISS's; none, then the one that comes nearest."""
    for peer in (build for build in builds if build.who == "FAISS"):
        same_shape = [build for build in builds if (build.dims, build.bytes) == (peer.dims, peer.bytes)]
        ours = [build for build in same_shape if build.who != peer.who]
        as_good = [build for build in ours if build.distortion <= peer.distortion]
        if as_good:
            best = min(as_good, key=lambda build: build.seconds)
        else:
            best = min(ours, key=lambda build: build.distortion)
        yield {
            "dims": peer.dims,
            "bytes": peer.bytes,
            "our_rotations": best.rotations,
            "our_seconds": best.seconds,
            "our_distortion": best.distortion,
            "peer_seconds": peer.seconds,
            "peer_distortion": peer.distortion,
            "reached": bool(as_good),
        }


def _timed(whose: str, row: Measurement, cost: str) -> dict[str, Any]:
    return {
        f"{whose}_method": row.method,
        f"{whose}_us": getattr(row, cost),
        f"{whose}_recall": row.recall10,
        f"{whose}_parameters": row.parameters,
    }


def _family(measurements: Sequence[Measurement], name: str) -> list[Measurement]:
    return [row for row in measurements if row.family == name]


def _best(measurements: Sequence[Measurement], quality: str) -> Measurement | None:
    """The most accurate; of equals, the fastest in batches."""
    known = [row for row in measurements if getattr(row, quality) is not None]
    return max(known, key=lambda row: (getattr(row, quality), -row.batch_us), default=None)
