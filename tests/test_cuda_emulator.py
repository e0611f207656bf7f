"""Does the emulator find what is wrong with a kernel, and nothing where nothing is?"""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cuda_emulator import emulator
from cuda_emulator.emulator import ORDERS, Emulator

pytestmark = pytest.mark.skipif(bool(emulator.why_not()), reason=emulator.why_not() or "runs here")

# What is said of each, as a regular expression. Where a barrier is missing, the reader may come first and find nothing.
FOUND = {
    "missing_barrier": "(race|uninitialised): reads shared memory",
    "missing_barrier_before_reuse": "race: (reads|writes) shared memory",
    "missing_syncwarp": "(race|uninitialised): reads shared memory",
    "syncwarp_between_warps": "(race|uninitialised): reads shared memory",
    "shuffle_taken_for_a_fence": "(race|uninitialised): reads shared memory",
    "all_lanes_write_one_element": "race: writes shared memory",
    "counter_without_atomics": "race: (reads|writes) device memory",
    "atomic_beside_plain_read": "race: (reads|atomically updates) shared memory",
    "reads_what_another_block_writes": "(race|uninitialised): reads device memory|race: writes device",
    "uninitialised_shared": "uninitialised: reads shared memory",
    "uninitialised_device": "uninitialised: reads device memory",
    "missing_wait_for_copies": "uninitialised: reads shared memory",
    "copies_left_behind": "never waited for",
    "shared_out_of_bounds": "out of bounds: reads shared memory",
    "device_out_of_bounds": "out of bounds: writes",
    "device_below_bounds": "out of bounds: reads",
    "host_memory": "memory that is not the device's",
    "writes_its_input": "writes to read-only device memory",
    "misaligned_vector": "misaligned vector: its address is no multiple of 16",
    "misaligned_scalar": "misaligned access of 4 bytes",
    "barrier_for_half_the_block": "divergence",
    "different_barriers": "divergence: at __syncthreads while another waits at __syncthreads",
    "return_before_barrier": "divergence",
    "shuffle_in_a_branch": "divergence",
    "partial_mask": "kernels name whole warps only",
    "more_shared_than_launched": "shared arrays need 272 bytes, the launch gave 256",
    "threads_disagree_on_an_array": "threads disagree on the size of a shared array",
    "matrices_at_misaligned_rows": "misaligned vector: its address is no multiple of 16",
    "matrices_of_rows_that_others_write": "(race|uninitialised): reads shared memory",
    "product_in_a_branch": "divergence",
    "more_zeros_than_bytes": "more zeros than bytes",
}


@pytest.fixture(scope="module")
def selftest() -> Emulator:
    return Emulator(emulator.build() / "libemulator_selftest.so")


def names(library: ctypes.CDLL) -> list[str]:
    library.seeded_name.restype = ctypes.c_char_p
    found: list[str] = []
    while (name := library.seeded_name(len(found))) is not None:
        found.append(name.decode())
    return found


def run(selftest: Emulator, name: str, order: str, *, broken: bool) -> tuple[str, np.ndarray]:
    """What the emulator says of a case, and what the kernel wrote."""
    library = selftest.library
    library.seeded_run.restype = ctypes.c_char_p
    with selftest.device() as device, selftest.order(order):
        # Room around the input, so that reading beside it does not end the process.
        around = np.ones(3 * 64, np.float32)
        out, counter = device.empty((3 * 64,), np.float32), device.zeros((1,), np.int32)
        pointers = [ctypes.c_void_p(address) for address in (device.lend(around[64:128]), out.ctypes.data)]
        message = library.seeded_run(
            names(library).index(name), broken, *pointers, ctypes.c_void_p(counter.ctypes.data)
        )
    return message.decode(), out


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FOUND)
def test_a_seeded_bug_is_found_in_any_order(selftest: Emulator, name: str, order: str) -> None:
    message, _ = run(selftest, name, order, broken=True)
    assert message.startswith(f"{name}: ")
    assert re.search(FOUND[name], message)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FOUND)
def test_its_correct_twin_runs_and_writes_ones(selftest: Emulator, name: str, order: str) -> None:
    message, out = run(selftest, name, order, broken=False)
    assert message == ""
    assert (out == 1).all()


def test_every_seeded_bug_has_its_expected_words(selftest: Emulator) -> None:
    assert sorted(names(selftest.library)) == sorted(FOUND)


def test_a_race_is_found_with_its_place_in_the_source(selftest: Emulator) -> None:
    message, _ = run(selftest, "missing_barrier", "forward", broken=True)
    command = message[message.index("addr2line") : message.index(")", message.index("addr2line"))]
    place = subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
    line = int(place.splitlines()[0].split(":")[1].split()[0])
    source = (Path(emulator.HERE) / "seeded_bugs.cu").read_text().splitlines()
    assert "shared[kThreads - 1 - threadIdx.x]" in source[line - 1]
