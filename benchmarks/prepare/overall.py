"""How far is the whole preparation, and how long will it take?"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from adanns.progress import ProgressCallback

PLAIN_LINE_SECONDS = 10.0
TERMINAL_SECONDS = 0.5
TRUSTED_SECONDS = 5.0  # a stage's own rate says more about its rest than the expectation does, from here on


class Overall:
    """Stages that run one after another, some of them skipped, with the seconds that each is expected to take.

    On a terminal one line is written over and over, elsewhere a line every ten seconds:

        stage 4 of 8 train: 37%, about 11 min left

    The time left is that of the running stage by its own rate, and of the later ones as expected times the pace so
    far. Stages in `unpaced` (downloads) say nothing about the pace of this machine.
    """

    def __init__(
        self,
        expected: Mapping[str, float],
        *,
        unpaced: frozenset[str] = frozenset(),
        output: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._expected = dict(expected)
        self._unpaced = unpaced
        self._output = output or sys.stderr
        self._clock = clock
        self._said_at = -float("inf")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[ProgressCallback]:
        """Time a stage; what it yields is the stage's `progress=`: (what, steps done, steps in all)."""
        began = self._clock()
        first: list[tuple[float, float]] = []  # when the first step was reported, and how much was done by then

        def step(what: str, done: int, total: int) -> None:
            share = done / total if total else 1.0
            now = self._clock()
            if not first:
                first.append((now, share))
            if now - self._said_at >= (TERMINAL_SECONDS if self._output.isatty() else PLAIN_LINE_SECONDS):
                self._said_at = now
                self._say(f"{share:.0%}, {self._left(name, share, now - first[0][0], share - first[0][1])}")

        self._running = name
        self._said_at = began
        self._say("begins")
        yield step
        self.seconds[name] = self._clock() - began
        self._say(f"done in {self.seconds[name]:.0f} s", end="\n")

    def _say(self, text: str, end: str = "") -> None:
        names = list(self._expected)
        line = f"stage {names.index(self._running) + 1} of {len(names)} {self._running}: {text}"
        if self._output.isatty():
            self._output.write(f"\r\033[K{line}{end}")
        else:
            self._output.write(line + "\n")
        self._output.flush()

    def _left(self, name: str, share: float, elapsed: float, gained: float) -> str:
        """`gained` of the stage was done in the last `elapsed` seconds; `share` is done in all."""
        names = list(self._expected)
        later = sum(self._expected[stage] for stage in names[names.index(name) + 1 :])
        paced = {stage: seconds for stage, seconds in self.seconds.items() if stage not in self._unpaced}
        expected, taken = sum(self._expected[stage] for stage in paced), sum(paced.values())
        if name not in self._unpaced:
            expected, taken = expected + self._expected[name] * gained, taken + elapsed
        pace = taken / expected if expected > 0 and taken > TRUSTED_SECONDS else 1.0
        if gained > 0.0 and elapsed > TRUSTED_SECONDS:
            rest = elapsed * (1.0 - share) / gained
        else:
            rest = self._expected[name] * (1.0 - share) * pace
        minutes = (rest + later * pace) / 60.0
        return f"about {minutes:.0f} min left" if minutes >= 1.0 else "less than a minute left"
