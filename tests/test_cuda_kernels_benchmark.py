"""Does every stage of `benchmarks cuda-kernels` run? In the emulator, over few rows, with numpy in cupy's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_emulator.emulator import Device
from cuda_search import AnyDevice, Loaded

from adanns import cuda
from benchmarks import cuda_kernels
from benchmarks.cuda_roofline import CASES, Case

MOST_QUERIES = 140


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, loaded: Loaded, device: AnyDevice) -> Iterator[cuda_kernels.Bench]:
    if not isinstance(device, Device):
        pytest.skip("a GPU runs the benchmark itself")
    monkeypatch.setattr(cuda, "current_device", lambda: (device, loaded[0]))
    monkeypatch.setattr(cuda_kernels, "importlib", SimpleNamespace(import_module=lambda name: np))
    monkeypatch.setattr(cuda_kernels, "ROWS", 700)
    monkeypatch.setattr(cuda_kernels, "LISTS", 20)

    class OnEmulator(cuda_kernels.Bench):
        def _keep(self, array: Any) -> Any:
            if not any(array is lent for lent in device.arrays):
                device.lend_writable(array)
            return super()._keep(array)

    yield OnEmulator(seed=0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} for {case.queries}")
def test_stage_runs(bench: cuda_kernels.Bench, case: Case) -> None:
    bench.work(dataclasses.replace(case, queries=min(case.queries, MOST_QUERIES)))()


def test_report_has_a_line_per_stage() -> None:
    lines = cuda_kernels.report([{**case.record(), "us": 1e3} for case in CASES], 2900.0).split("\n")
    assert [line.split("  ")[0] for line in lines[1 : len(CASES) + 1]] == [case.name for case in CASES]
    assert lines[-1].endswith("2,900 GB/s, read and written.")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} for {case.queries}")
def test_no_estimate_is_below_its_floor(case: Case) -> None:
    assert 0 < case.floor_us <= 1.001 * case.estimate_us
    assert case.bound_by in case.parts_us
