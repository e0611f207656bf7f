"""Does the static report read what ptxas prints, and does its occupancy follow NVIDIA's rules?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import cuda_report
from benchmarks.cuda_report import MULTIPROCESSORS, occupancy, parsed

PTXAS = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'void adanns::cuda::(anonymous namespace)::collect_all_rows<4>(S)' for 'sm_90'
ptxas info    : Function properties for void adanns::cuda::(anonymous namespace)::collect_all_rows<4>(S)
    128 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 125 registers, used 1 barriers, 128 bytes cumulative stack size
ptxas info    : Compiling entry function 'adanns::cuda::(anonymous namespace)::unheard_of(long)' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers
ptxas info    : Compiling entry function 'void adanns::cuda::(anonymous namespace)::collect_tiles<adanns::cuda::MediumTile>(adanns::cuda::Found)' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 122 registers, used 1 barriers
"""  # noqa: E501


def test_registers_and_spills_are_read_from_what_ptxas_prints() -> None:
    first, second, third = parsed(PTXAS, 90)
    assert (first.name, first.registers, first.stack_bytes, first.spilled_bytes) == (
        "collect_all_rows<4>",
        125,
        128,
        28,
    )
    assert first.occupancy == 0.25
    assert (second.name, second.registers, second.spilled_bytes, second.occupancy) == ("unheard_of", 32, 0, None)
    assert (third.name, third.registers, third.occupancy) == ("collect_tiles<MediumTile>", 122, 0.25)


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "expected"),
    [
        (90, 256, 32, 0, 1.0),
        (90, 256, 33, 0, 0.75),  # registers go by 8 a thread: 40 leave room for 6 blocks of 8
        (90, 256, 64, 0, 0.5),
        (90, 256, 255, 0, 0.125),
        (86, 256, 32, 49 << 10, 1 / 3),
        (86, 256, 32, 99 << 10, 1 / 6),
        (80, 1024, 32, 128, 1.0),
    ],
)
def test_occupancy_is_bounded_by_threads_registers_or_shared_memory(
    arch: int, threads: int, registers: int, shared: int, expected: float
) -> None:
    assert occupancy(MULTIPROCESSORS[arch], threads, registers, shared) == pytest.approx(expected)


def test_every_kernel_has_a_launch_that_the_report_knows() -> None:
    sources = "\n".join(path.read_text() for path in sorted(Path(cuda_report.CSRC).glob("cuda/*.cu")))
    kernels = set(re.findall(r"__global__ void(?: __launch_bounds__\(.*?\))?\s+(\w+)\(", sources))
    assert len(kernels) >= 8
    assert kernels == {name.split("<")[0] for name in cuda_report.LAUNCHES}
