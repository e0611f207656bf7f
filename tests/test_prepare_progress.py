"""What a long preparation says meanwhile, and how its processes are run."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from adanns.progress import ProgressCallback
from benchmarks.prepare import facts
from benchmarks.prepare.overall import Overall
from benchmarks.prepare.workers import apart, mapped, parts_of


class Clock:
    """A clock that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_time_left_is_the_stage_at_its_rate_and_later_ones_at_the_pace_so_far() -> None:
    clock, output = Clock(), io.StringIO()
    overall = Overall({"draw": 100.0, "train": 600.0, "embed": 300.0}, output=output, clock=clock)
    with overall.stage("draw") as step:
        step("", 0, 2)
        clock.now = 100.0
        step("", 1, 2)  # 50 s of work took 100: this machine is half as fast
        clock.now = 200.0
    with overall.stage("train") as step:
        clock.now = 209.0
        step("", 1, 20)  # nothing is said within 10 s of the line before
        clock.now = 509.0
        step("", 1, 4)
    lines = output.getvalue().splitlines()
    assert lines[:3] == [
        "stage 1 of 3 draw: begins",
        "stage 1 of 3 draw: 50%, about 32 min left",  # 100 s of this, 900 s of later stages at half speed
        "stage 1 of 3 draw: done in 200 s",
    ]
    # 20% in 300 s leave 1,125 s; what was to take 100 + 120 s took 500, so the last stage takes 682.
    assert lines[4:] == ["stage 2 of 3 train: 25%, about 30 min left", "stage 2 of 3 train: done in 309 s"]
    assert overall.seconds == {"draw": 200.0, "train": 309.0}


def test_a_resumed_stage_is_judged_by_what_it_does_now() -> None:
    clock, output = Clock(), io.StringIO()
    overall = Overall({"train": 60.0}, output=output, clock=clock)
    with overall.stage("train") as step:
        step("", 80, 100)  # from a checkpoint
        clock.now = 100.0
        step("", 90, 100)
    assert "train: 90%, about 2 min left" in output.getvalue()


def test_downloads_say_nothing_about_the_pace() -> None:
    clock, output = Clock(), io.StringIO()
    overall = Overall({"fetch": 10.0, "draw": 120.0}, unpaced=frozenset({"fetch"}), output=output, clock=clock)
    with overall.stage("fetch") as step:
        clock.now = 1000.0
        step("", 1, 1)
    assert "fetch: 100%, about 2 min left" in output.getvalue()


def test_a_terminal_gets_one_line_for_each_stage() -> None:
    clock, output = Clock(), Terminal()
    overall = Overall({"draw": 10.0}, output=output, clock=clock)
    with overall.stage("draw") as step:
        clock.now = 1.0
        step("", 1, 2)
    assert output.getvalue().count("\n") == 1
    assert output.getvalue().split("\r\033[K")[2].startswith("stage 1 of 1 draw: 50%, less than a minute left")


def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    assert list(mapped(double, list(range(20)), workers)) == list(range(0, 40, 2))


def succeed(task: str, progress: ProgressCallback) -> None:
    progress("", 1, 2)
    if task == "fail":
        os._exit(3)
    progress("", 2, 2)


def test_a_process_apart_reports_and_its_failure_is_an_error() -> None:
    said: list[float] = []
    apart(succeed, "well", lambda what, done, total: said.append(done / total))
    assert said[-1] == 1.0
    with pytest.raises(RuntimeError, match="exit code 3, its error is above; what is finished was kept"):
        apart(succeed, "fail", lambda what, done, total: None)


def test_parts_add_up_to_the_whole() -> None:
    said: list[tuple[str, float]] = []
    first, second = parts_of(lambda what, done, total: said.append((what, done / total)), "train", 2)
    first("", 1, 2)
    second("", 1, 1)
    assert said == [("train", 0.25), ("train", 0.75)]


def test_facts_are_merged_and_readable(tmp_path: Path) -> None:
    facts.add(tmp_path, seconds={"draw": 12.34}, missing=["a", "b"])
    facts.add(tmp_path, seconds={"train": 5.0}, faces=7)
    known = facts.read(tmp_path)
    assert known == {"seconds": {"draw": 12.34, "train": 5.0}, "missing": ["a", "b"], "faces": 7}
    assert {name: facts.as_text(value) for name, value in known.items()} == {
        "seconds": "draw 12.3; train 5.0",
        "missing": "a, b",
        "faces": "7",
    }
