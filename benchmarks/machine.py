"""On what was it measured: processor, memory, versions, commit, and the environment the libraries see."""

import importlib
import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

# What decides which kernels run, here and in the peers.
FLAGS_OF_INTEREST = (
    "avx2",
    "f16c",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vpopcntdq",
    "amx_int8",
    "asimd",
    "asimddp",
    "sve",
)
PACKAGES = ("adanns", "numpy", "faiss-cpu", "matplotlib", "torch", "faiss-gpu-cu12", "cuvs-cu12", "cuvs-cu13")
BLAS_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
# More than this many cores used by others, on average, and the times are not to be trusted.
BUSY_CORES = 0.1
REPOSITORY = Path(__file__).resolve().parents[1]


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_environment(threads: int) -> dict[str, str | None]:
    """Let BLAS run at its best and on `threads` threads; must come before numpy or FAISS are imported.

    The OpenBLAS inside FAISS's wheel is older than the one inside numpy's: on a processor it does not know it falls
    back to kernels without AVX, several times slower, so both are told the level by the processor's flags.
    Returns the variables as they now stand.
    """
    loaded = [name for name in ("numpy", "faiss") if name in sys.modules]
    if loaded:
        raise RuntimeError(f"{' and '.join(loaded)} imported before the environment was prepared")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.pop("OPENBLAS_CORETYPE", None)
    flags = set(cpu_info().get("flags", "").split())
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    elif {"avx2", "fma"} <= flags:
        os.environ["OPENBLAS_CORETYPE"] = "Haswell"
    return {name: os.environ.get(name) for name in BLAS_VARIABLES}


class OtherLoad:
    """How many cores other processes (and the hypervisor) kept busy while a `with` block ran; None if unknown."""

    cores: float | None = None

    def __enter__(self) -> "OtherLoad":
        self._start = _busy_seconds(), time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        busy, own, wall = _busy_seconds(), time.process_time(), time.perf_counter()
        if busy is not None and self._start[0] is not None:
            others = (busy - self._start[0]) - (own - self._start[1])
            self.cores = round(max(0.0, others / (wall - self._start[2])), 2)

    def warning(self) -> str | None:
        """That times are not to be trusted, where they are not."""
        if self.cores is None or self.cores <= BUSY_CORES:
            return None
        return f"Not a quiet machine: other processes used {self.cores} cores meanwhile. Do not trust the times."


def _busy_seconds() -> float | None:
    """Seconds that all cores together were not idle since the machine started."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    # cpu user nice system idle iowait irq softirq steal ...; guest time is part of user.
    ticks = [int(text) for text in path.read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def available_bytes() -> int | None:
    """Memory that can be used without swapping; None if unknown."""
    path = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable: *(\d+) kB", path.read_text(), re.MULTILINE) if path.exists() else None
    return int(found[1]) * 1024 if found else None


def describe() -> dict[str, Any]:
    """Everything about the machine and the software that a reader of the results needs; JSON-able."""
    cpu = cpu_info()
    present = set(cpu.get("flags", cpu.get("Features", "")).split())
    return {
        "cpu": cpu_name(),
        "cpu_family_model_stepping": "/".join(cpu.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "cores": available_cores(),
        "flags": [flag for flag in FLAGS_OF_INTEREST if flag in present],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES if _is_installed(name)},
        "adanns_isa": os.environ.get("ADANNS_ISA"),
        "commit": _git("rev-parse", "HEAD"),
        "commit_is_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def cpu_name() -> str:
    """The processor's model name, without trademarks and clock."""
    name = cpu_info().get("model name") or platform.processor() or platform.machine()
    name = re.sub(r"\((R|TM)\)|@.*|\bCPU\b", "", name, flags=re.IGNORECASE)
    return " ".join(name.split())


def gpu(device: str) -> dict[str, Any]:
    """The GPU that searches run on, its driver and cupy; nothing for the CPU."""
    if device == "cpu":
        return {}
    cupy = importlib.import_module("cupy")
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "gpu": properties["name"].decode(),
        "gpu_memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
        "cuda_driver": cupy.cuda.runtime.driverGetVersion(),
        "cupy": cupy.__version__,
    }


def slug(name: str) -> str:
    """A processor's name as a folder name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def results_folder(run: str, device: str = "cpu") -> Path:
    """Where the results of a run on this processor, or this GPU, are kept."""
    processor = cpu_name() if device == "cpu" else gpu(device)["gpu"]
    return Path(__file__).parent / "results" / slug(processor) / run


def cpu_info() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _is_installed(package: str) -> bool:
    return any(metadata.distributions(name=package))


def _git(*arguments: str) -> str | None:
    """What git says about this repository; None outside of one, or without git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
