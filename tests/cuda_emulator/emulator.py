"""How do tests build the emulator, lend it arrays, and choose the order of threads?"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# (order, seed): forward, reverse, and random ones, which also change threads between two accesses to memory.
ORDERS = {"forward": (0, 0), "reverse": (1, 0), "random-1": (2, 1), "random-2": (2, 2)}


def why_not() -> str:
    """Why the emulator cannot run here; nothing where it can."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"the emulator switches stacks in x86-64 assembly; this machine is {platform.machine()}"
    features = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    if not {"fma", "f16c"} <= set(features.split()):
        return "the emulator is compiled for FMA and F16C, which this machine lacks"
    return ""


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def sanitizers() -> str:
    """What `make sanitize` builds with; "" for the emulator's own checks."""
    return os.environ.get("ADANNS_EMULATOR_SANITIZE", "")


def build(sanitize: str = "") -> Path:
    """Compile what changed; the folder of the libraries. sanitize: as g++ names sanitizers; "" for our own checks."""
    folder = ROOT / "build" / ("cuda-emulator-" + sanitize.replace(",", "-") if sanitize else "cuda-emulator")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    cmake = shutil.which("cmake", path=environment["PATH"])
    if cmake is None:
        raise RuntimeError("building the emulator needs cmake: pip install cmake ninja")
    configure = ["-S", str(HERE), "-B", str(folder), "-G", "Ninja", f"-DEMULATOR_SANITIZE={sanitize}"]
    # Where sanitizers are loaded into python, the compiler must not inherit them.
    environment.pop("LD_PRELOAD", None)
    for command in ([cmake, *configure, f"-DPython_EXECUTABLE={sys.executable}"], [cmake, "--build", str(folder)]):
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return folder


class Emulator:
    """One library of kernels together with the emulator that runs them."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self._lend = self.library.emulator_lend
        self._lend.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self._lend.restype = None
        self._take_back = self.library.emulator_take_back
        self._take_back.argtypes = [ctypes.c_void_p]
        self._take_back.restype = None
        self._set_order = self.library.emulator_set_order
        self._set_order.argtypes = [ctypes.c_int, ctypes.c_ulong]
        self._set_order.restype = None

    @contextmanager
    def order(self, name: str) -> Iterator[None]:
        """Run threads and blocks in one of ORDERS."""
        self._set_order(*ORDERS[name])
        try:
            yield
        finally:
            self._set_order(*ORDERS["forward"])

    @contextmanager
    def device(self) -> Iterator[Device]:
        """Arrays lent through it are the device's memory until the block ends."""
        device = Device(self)
        try:
            yield device
        finally:
            for array in device.arrays:
                self._take_back(array.ctypes.data)


class Device:
    """numpy arrays as device memory, each byte of it and none beside it."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.arrays: list[NDArray[Any]] = []

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        """A copy that kernels may only read."""
        return self._give(np.array(array, order="C"), writable=False, initialised=True)

    def lend(self, array: NDArray[Any]) -> int:
        """Where an array is that kernels may only read: itself, not a copy."""
        return self.address(self._give(array, writable=False, initialised=True))

    def lend_writable(self, array: NDArray[Any]) -> int:
        """The same, for kernels that write it too."""
        return self.address(self._give(array, writable=True, initialised=True))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Memory that kernels must write before they read it."""
        array = np.full(shape, 0xAB, np.uint8) if np.dtype(dtype) == np.uint8 else np.empty(shape, dtype)
        return self._give(array, writable=True, initialised=False)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        return self._give(np.zeros(shape, dtype), writable=True, initialised=True)

    def masked(self, values: NDArray[Any] | None, mask: NDArray[Any]) -> NDArray[Any]:
        given = np.float32(0) if values is None else values
        return self.put(np.where(mask, given, np.float32(np.nan)))

    @staticmethod
    def largest(array: NDArray[Any]) -> float:
        return float(np.abs(array).max())

    @staticmethod
    def holds(array: Any) -> bool:
        return hasattr(array, "__cuda_array_interface__")

    def adopt(self, array: Any) -> NDArray[Any]:
        return self.put(np.asarray(array.values))

    def contiguous(self, array: NDArray[Any]) -> NDArray[Any]:
        return self.put(np.ascontiguousarray(array, np.float32))

    @staticmethod
    def join(arrays: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(arrays)

    @staticmethod
    def copy(source: NDArray[Any], to: NDArray[Any]) -> None:
        to[...] = source

    @staticmethod
    def record(work: Any) -> None:
        return None

    @staticmethod
    def stream_of(array: Any) -> AbstractContextManager[None]:
        return nullcontext()

    @staticmethod
    def stream() -> int:
        return 0

    @staticmethod
    def free_bytes() -> int:
        return 1 << 40

    @staticmethod
    def address(array: NDArray[Any]) -> int:
        return int(array.ctypes.data)

    @staticmethod
    def read(array: NDArray[Any]) -> NDArray[Any]:
        """A copy of what kernels wrote."""
        return array.copy()

    def _give(self, array: NDArray[Any], *, writable: bool, initialised: bool) -> NDArray[Any]:
        if not array.flags.c_contiguous:
            raise ValueError("the device's arrays are contiguous")
        self.arrays.append(array)
        element = min(array.itemsize, 4)
        self._emulator._lend(array.ctypes.data, array.nbytes, element, writable, initialised)
        return array
