"""Build adanns._core, and adanns._cuda where nvcc is found. Everything else about the package is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def build_tool(name: str) -> str:
    """The path of cmake or ninja: the build requirement's own, else the one on PATH."""
    try:
        folder = getattr(__import__(name), {"cmake": "CMAKE_BIN_DIR", "ninja": "BIN_DIR"}[name])
    except (ImportError, AttributeError):
        folder = None
    path = shutil.which(name, path=folder) if folder else None
    path = path or shutil.which(name)
    if path is None:
        raise SystemExit(f"building adanns needs {name}: pip install {name}")
    return path


class CMakeBuild(build_ext):
    """Configure and build with CMake in a folder that stays, so that a second build compiles only what changed."""

    def build_extension(self, ext: Extension) -> None:
        if ext.optional:  # CMake has built it with the other, or found no nvcc
            return
        if not Path(sysconfig.get_path("include"), "Python.h").is_file():
            raise SystemExit("building adanns needs Python's C headers (on Debian: apt-get install python3-dev)")
        # Named by Python and not by self.build_temp, which is a new temporary folder for an editable install.
        build_folder = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
        cmake = build_tool("cmake")
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_MAKE_PROGRAM": build_tool("ninja"),
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "ADANNS_CUDA": os.environ.get("ADANNS_CUDA", "auto"),
            "ADANNS_CUDA_ARCHS": os.environ.get("ADANNS_CUDA_ARCHS", "80;86;89;90;100;120"),
            "ADANNS_WERROR": "ON" if os.environ.get("ADANNS_WERROR") == "1" else "OFF",
        }
        defines = [f"-D{name}={value}" for name, value in options.items()]
        commands = [
            [cmake, "-S", str(ROOT), "-B", str(build_folder), "-G", "Ninja", *defines],
            [cmake, "--build", str(build_folder), "--parallel", str(len(os.sched_getaffinity(0)))],
            [cmake, "--install", str(build_folder), "--prefix", str(Path(self.build_lib).resolve())],
        ]
        for command in commands:
            subprocess.run(command, check=True)


EXTENSIONS = [Extension("adanns._core", sources=[]), Extension("adanns._cuda", sources=[], optional=True)]
setup(ext_modules=EXTENSIONS, cmdclass={"build_ext": CMakeBuild})
