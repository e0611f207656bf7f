"""What does each kernel of csrc/cuda take of each GPU? Registers, spills and occupancy, as the compiler says: none ran.

Occupancy is the share of a multiprocessor's threads that can run at once; shared memory is counted as launched for the
search that LAUNCHES describes.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import machine, results
from benchmarks.cuda_roofline import CASES
from benchmarks.table import aligned, number

CSRC = Path(__file__).resolve().parents[1] / "csrc"


@dataclass(frozen=True)
class Multiprocessor:
    """What one has for all blocks that it runs at once (CUDA C++ Programming Guide, compute capabilities)."""

    threads: int
    shared_bytes: int
    registers: int = 65_536


_LARGE, _SMALL = Multiprocessor(2048, 228 << 10), Multiprocessor(1536, 100 << 10)
MULTIPROCESSORS = {80: Multiprocessor(2048, 164 << 10), 86: _SMALL, 89: _SMALL, 90: _LARGE, 100: _LARGE, 120: _SMALL}

# Threads of a block and its shared bytes, by kernel: scans of 64 dims of ImageNet-1K's rows for 100 candidates (of
# all 2,048 dims by the largest tile), of table codes of 32 bytes; a rerank of 100 candidates at 2,048 dims at most; an
# assignment at 64 dims.
LAUNCHES = {
    "sample_rows<1>": (256, 352),
    "sample_rows<4>": (256, 1_120),
    "collect_all_rows<1>": (256, 352),
    "collect_all_rows<4>": (256, 1_120),
    "scan_all_again": (256, 4_512),
    "sample_tiles<SmallTile>": (256, 71_968),
    "sample_tiles<MediumTile>": (256, 68_640),
    "sample_tiles<LargeTile>": (384, 94_464),
    "collect_tiles<SmallTile>": (256, 71_968),
    "collect_tiles<MediumTile>": (256, 68_640),
    "collect_tiles<LargeTile>": (384, 94_464),
    "halve_queries": (128, 288),
    "bound_lists": (256, 34_272),
    "collect_list_items<1>": (128, 352),
    "collect_list_items<4>": (128, 1_120),
    "sample_list_tiles": (128, 38_240),
    "collect_list_tiles": (128, 38_240),
    "scan_list_again": (256, 4_512),
    "sample_table_codes<8>": (256, 32_768),
    "sample_table_codes<4>": (256, 4_096),
    "collect_table_codes<8>": (256, 32_768),
    "collect_table_codes<4>": (256, 4_096),
    "scan_tables_again<8>": (256, 36_928),
    "scan_tables_again<4>": (256, 8_256),
    "rotate_query": (256, 1_024),
    "bound_query": (256, 33_888),
    "select_query": (256, 18_560),
    "merge_query": (256, 4_160),
    "rerank_query": (256, 11_296),
    "nearest_centroids": (256, 69_664),
    "add_rows": (256, 0),
    "clear_found": (256, 0),
    "clear_counts": (256, 0),
    "count_visits": (256, 0),
    "place_lists": (1024, 128),
    "place_visits": (256, 0),
    "name_list": (256, 0),
}

_KERNEL = re.compile(
    r"Compiling entry function '(?P<name>[^']+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Kernel:
    """One kernel as compiled for one architecture. occupancy: None where LAUNCHES does not know the kernel."""

    name: str
    arch: int
    registers: int
    stack_bytes: int
    spilled_bytes: int
    threads: int | None
    shared_bytes: int | None
    occupancy: float | None


def run(options: argparse.Namespace) -> int:
    """Compile, print, write; 1 if a kernel spills."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("cuda-report needs nvcc: put it on PATH")
        return 2
    tasks = [(path, arch) for path in sorted(CSRC.glob("cuda/*.cu")) for arch in options.archs]
    with ThreadPoolExecutor(options.threads) as pool:
        kernels = [kernel for found in pool.map(lambda task: compiled(nvcc, *task), tasks) for kernel in found]
    kernels.sort(key=lambda kernel: (kernel.name, kernel.arch))
    text = f"{report(kernels)}\n\n{roofline()}"
    print(text)
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[-2]
    folder = options.output or machine.results_folder("cuda-report")
    folder.mkdir(parents=True, exist_ok=True)
    content = {**results.heading("cuda-report", nvcc=version), "kernels": [asdict(kernel) for kernel in kernels]}
    content["roofline"] = [case.record() for case in CASES]
    results.write_content(content, folder / "results.json")
    (folder / "table.txt").write_text(text + "\n")
    print("\nWritten:", folder / "results.json", folder / "table.txt", sep="\n  ")
    return int(any(kernel.spilled_bytes for kernel in kernels))


def compiled(nvcc: str, source: Path, arch: int) -> list[Kernel]:
    """The kernels of a source for an architecture."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["-O3", "-std=c++17", f"-arch=sm_{arch}", f"-I{CSRC}", "-Xptxas=-v", "-cubin"]
        command = [nvcc, *flags, "-o", f"{folder}/kernels.cubin", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    names = subprocess.run(["c++filt"], input=done.stderr, capture_output=True, text=True, check=True).stdout
    return parsed(names, arch)


def parsed(text: str, arch: int) -> list[Kernel]:
    """Kernels out of what ptxas -v prints, its names made readable."""
    kernels = []
    for match in _KERNEL.finditer(text):
        name = short_name(match["name"])
        registers, spilled = int(match["registers"]), int(match["stores"]) + int(match["loads"])
        threads, shared = LAUNCHES.get(name, (None, None))
        share = None
        if threads is not None and shared is not None:
            share = occupancy(MULTIPROCESSORS[arch], threads, registers, shared)
        kernels.append(Kernel(name, arch, registers, int(match["stack"]), spilled, threads, shared, share))
    return kernels


def short_name(signature: str) -> str:
    """`void a::(anonymous namespace)::scan<a::Tile>(b::C, long)` is scan<Tile>."""
    plain = signature.replace("(anonymous namespace)::", "").split("(")[0].split(" ")[-1]
    return re.sub(r"\w+::", "", plain)


def occupancy(of: Multiprocessor, threads: int, registers: int, shared_bytes: int) -> float:
    """The share of the threads that run at once.

    Registers are given out to warps 256 at a time, shared memory with 1 KB more for the system (compute capability 8.0
    and up).
    """
    warps = -(-threads // 32)
    warp_registers = -(-registers * 32 // 256) * 256
    by_registers = of.registers // warp_registers // 4 * 4 // warps  # each quarter of it has a file of its own
    by_shared = of.shared_bytes // (shared_bytes + 1024)
    return min(of.threads // threads, by_registers, by_shared) * threads / of.threads


def report(kernels: list[Kernel]) -> str:
    """A line per kernel and architecture."""
    lines = [["kernel", "arch", "registers", "spilled", "shared bytes", "occupancy"]]
    for kernel in kernels:
        share = "" if kernel.occupancy is None else f"{kernel.occupancy:.0%}"
        shared = "" if kernel.shared_bytes is None else f"{kernel.shared_bytes:,}"
        lines.append(
            [kernel.name, f"sm_{kernel.arch}", f"{kernel.registers}", f"{kernel.spilled_bytes}", shared, share]
        )
    return aligned(lines)


def roofline() -> str:
    """What each stage takes at least on an H100: any kernel, and ours."""
    lines = [["at ImageNet-1K's size, on an H100", "queries", "memory us", "arithmetic us", "ours us", "bound by", "x"]]
    for case in CASES:
        parts = [number(us) for us in (case.memory_us, case.arithmetic_us, case.estimate_us)]
        times = f"{case.estimate_us / case.floor_us:.2f}"
        lines.append([case.name, f"{case.queries:,}", *parts, case.bound_by, times])
    return (
        "Estimated, not measured: what memory and arithmetic take at least by NVIDIA's datasheet, what ours takes\n"
        "at least by what its kernels do, what bounds it, and how many times the larger of the first two that is:\n"
        f"{aligned(lines)}"
    )
