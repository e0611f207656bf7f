#!/usr/bin/env bash
# Build adanns._core with AddressSanitizer and UBSan in build/sanitize and run the kernel tests with it; then the CUDA ones.
# The tests run in a copy of the tree, so that neither the editable install nor the working folder can shadow that build.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
bin=$root/.venv/bin
build=$root/build/sanitize
tree=$build/tree
export CXX=${CXX:-g++}

"$bin/cmake" -S . -B "$build" -G Ninja -DCMAKE_MAKE_PROGRAM="$bin/ninja" -DPython_EXECUTABLE="$bin/python" \
    -DADANNS_SANITIZE=address,undefined >"$build.configure.log" || { cat "$build.configure.log"; exit 1; }
"$bin/cmake" --build "$build"

rm -rf "$tree"
mkdir "$tree"
cp -r adanns tests pyproject.toml "$tree"
rm -f "$tree"/adanns/_core.*.so
"$bin/cmake" --install "$build" --prefix "$tree" >/dev/null

# libstdc++ as well: ASan looks up its exception functions when the process starts, and python does not link it.
preload="$("$CXX" -print-file-name=libasan.so) $("$CXX" -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0 # CPython keeps memory until the process ends
export UBSAN_OPTIONS=print_stacktrace=1
export PYTHONPATH=$tree
cd "$tree"
env LD_PRELOAD="$preload" "$bin/python" - "$tree" <<'PYTHON'
import pathlib
import sys

from adanns import _core

assert pathlib.Path(_core.__file__).is_relative_to(sys.argv[1]), f"{_core.__file__} is not the sanitized build"
PYTHON
# capture=sys leaves the process's own stderr alone, where a report goes before it ends the process.
env LD_PRELOAD="$preload" "$bin/python" -m pytest -p no:cacheprovider --capture=sys tests/test_kernels*.py "$@"

# The CUDA kernels, which the emulator runs on the CPU. They need nothing of adanns, so they are tested where they lie.
cd "$root"
export ADANNS_EMULATOR_SANITIZE=address,undefined
env LD_PRELOAD="$preload" "$bin/python" -m pytest -p no:cacheprovider --capture=sys \
    tests/test_cuda_scan.py tests/test_cuda_rerank.py tests/test_cuda_tables.py -k "not reverse and not random" "$@"
