"""Does a killed save lose anything? A child saves two indices in turn into one folder and is killed at random moments.

One of them was changed: it is several segments, one with removed rows. After every kill the folder must hold one of the
two, whole: all checksums agree, and searches that compare every row find the same, bit for bit.
Every tenth time a second save follows, which must clear away whatever the kill left.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import adanns
from adanns.storage.folder import UNFINISHED_MANIFEST, UNFINISHED_SEGMENT
from adanns.storage.manifest import MANIFEST, read_manifest
from benchmarks import machine, results
from benchmarks.table import aligned

DIMS = 32
QUERIES = 3
ROWS = (200, 6000)  # one is written at once, the other in pieces
SAVES_TIMED = 6  # to know how long two saves last, which is what moments are drawn from
REPAIRED_EVERY = 10


@dataclass
class Kills:
    """What was found after so many kills. `left` counts what the folder held besides, `ages` which index it was."""

    kills: int = 0
    lost: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    repaired: int = 0


def indices(seed: int) -> tuple[Any, Any]:
    """A small index and a larger, changed one, built on one thread: a process with threads may not fork."""
    rows = np.random.default_rng(seed).standard_normal((max(ROWS), DIMS)).astype(np.float32)
    small = adanns.ExactIndex(metric="l2").build(rows[: ROWS[0]], threads=1, progress=False)
    large = adanns.IVFIndex(cluster_dims=16, scan_dims=16, lists=8, iterations=2)
    large.build(rows[: -ROWS[0]], threads=1, progress=False).add(rows[-ROWS[0] :], threads=1, progress=False)
    large.remove(range(0, max(ROWS), 7))
    return small, large


def kill_saves(folder: Path, kills: int, seed: int) -> Iterator[Kills]:
    """Kill so many children, yielding the same tally after each."""
    pair = indices(seed)
    dice = random.Random(seed)
    began = time.perf_counter()
    for number in range(SAVES_TIMED):
        pair[number % 2].save(folder)
    both = 2 * (time.perf_counter() - began) / SAVES_TIMED
    tally = Kills()
    for _ in range(kills):
        child = _saving_child(folder, pair, dice.randrange(2))
        time.sleep(dice.random() * 1.5 * both)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        tally.kills += 1
        tally.left[_left(folder)] += 1
        _check(folder, pair, tally)
        if tally.kills % REPAIRED_EVERY == 0:
            pair[1].save(folder)
            tally.repaired += _left(folder) == "nothing" and _same(adanns.load(folder, verify=True), pair[1])
        yield tally


def _saving_child(folder: Path, pair: tuple[Any, Any], first: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        while True:
            pair[first].save(folder)
            first = 1 - first
    finally:
        os._exit(1)  # not through the parent's own clean-up


def _check(folder: Path, pair: tuple[Any, Any], tally: Kills) -> None:
    try:
        index = adanns.load(folder, mmap=tally.kills % 2 == 0, verify=True)
    except Exception as error:
        tally.lost.append(f"kill {tally.kills}: {error!r}")
        return
    for expected in pair:
        if _same(index, expected):
            tally.whole[index.kind] += 1
            return
    tally.lost.append(f"kill {tally.kills}: {index!r} is neither")


def _same(index: Any, expected: Any) -> bool:
    if (index.kind, index.parameters, index.rows) != (expected.kind, expected.parameters, expected.rows):
        return False
    queries = np.random.default_rng(1).standard_normal((QUERIES, DIMS)).astype(np.float32)
    found, wanted = (one.range_search(queries, np.inf, threads=1, **_everything(one)) for one in (index, expected))
    return np.array_equal(found.ids, wanted.ids) and np.array_equal(found.distances, wanted.distances)


def _everything(index: Any) -> dict[str, int]:
    return {"probes": index.lists} if hasattr(index, "lists") else {}


def _left(folder: Path) -> str:
    """What a save would have tidied up."""
    names = {path.name for path in folder.iterdir()}
    found = []
    if UNFINISHED_SEGMENT in names:
        found.append("a segment half written")
    if UNFINISHED_MANIFEST in names:
        found.append("a manifest half written")
    if MANIFEST not in names:
        found.append("no manifest")
    elif {name for name in names if name.endswith(".safetensors")} != read_manifest(folder).files:
        found.append("a segment that nothing names")
    return " and ".join(found) or "nothing"


def run(options: argparse.Namespace) -> int:
    """Kill, print, write results.json; options as parsed by benchmarks.__main__. 1 where anything was lost."""
    began = time.perf_counter()
    tally = Kills()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for tally in kill_saves(Path(folder) / "index", options.kills, options.seed):
            if tally.kills % 500 == 0:
                print(f"{tally.kills} kills, {len(tally.lost)} lost", flush=True)
    lines = [["left behind by a kill", "times"], *([what, str(count)] for what, count in tally.left.most_common())]
    print(aligned(lines))
    content = {
        **results.heading("crash", environment=options.environment),
        "options": {key: getattr(options, key) for key in ("kills", "seed")},
        "seconds": round(time.perf_counter() - began, 1),
        "kills": tally.kills,
        "lost": tally.lost,
        "whole_after_a_kill": dict(tally.whole),
        "left_behind_by_a_kill": dict(tally.left.most_common()),
        "saves_over_what_was_left": {"tried": tally.kills // REPAIRED_EVERY, "whole_and_tidy": tally.repaired},
    }
    place = options.output or machine.results_folder("crash")
    place.mkdir(parents=True, exist_ok=True)
    results.write_content(content, place / "results.json")
    print(f"{tally.kills} kills, {len(tally.lost)} lost. Written to {place}")
    return 1 if tally.lost else 0
