"""How large is each step's learning rate? A pure function of the step, so that nothing of it needs saving."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["one-cycle", "cosine"]

WARMUPS: dict[str, float] = {"one-cycle": 0.3, "cosine": 0.05}


def rate_at(step: int, steps: int, schedule: Schedule, warmup: float) -> float:
    """The share of the peak learning rate at a step of `steps`: up for the share `warmup` of them, then down to 0.

    "one-cycle": a straight line up and a straight line down. "cosine": a straight line up, half a cosine down.
    """
    rising = warmup * steps
    if step + 1 < rising:
        return (step + 1) / rising
    left = (steps - step) / max(steps - max(rising - 1, 0), 1)
    return left if schedule == "one-cycle" else (1 - math.cos(math.pi * left)) / 2


def checked_schedule(schedule: object, warmup: float | None) -> tuple[Schedule, float]:
    """A known schedule and its share of warmup."""
    for known in WARMUPS:
        if schedule == known:
            share = WARMUPS[known] if warmup is None else float(warmup)
            if not 0 <= share < 1:
                raise ValueError(f"warmup={warmup}; expected a share of the steps, from 0 on, below 1")
            return known, share  # type: ignore[return-value]
    raise ValueError(f"schedule is {schedule!r}; choose one of {tuple(WARMUPS)}")
