#!/usr/bin/env bash
# Build adanns._core with ThreadSanitizer in build/sanitize-threads and let threads change and search indices with it. A race
# ends the run with its report.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
bin=$root/.venv/bin
build=$root/build/sanitize-threads
tree=$build/tree
export CXX=${CXX:-g++}

"$bin/cmake" -S . -B "$build" -G Ninja -DCMAKE_MAKE_PROGRAM="$bin/ninja" -DPython_EXECUTABLE="$bin/python" \
    -DADANNS_CUDA=off -DADANNS_SANITIZE=thread >"$build.configure.log" || { cat "$build.configure.log"; exit 1; }
"$bin/cmake" --build "$build"

rm -rf "$tree"
mkdir "$tree"
cp -r adanns tests "$tree"
rm -f "$tree"/adanns/_core.*.so
"$bin/cmake" --install "$build" --prefix "$tree" >/dev/null

# Python and numpy are not instrumented: only what the engine itself reads and writes is looked at.
export TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1"
export OPENBLAS_NUM_THREADS=1
export PYTHONPATH=$tree
cd "$tree"
preload="$("$CXX" -print-file-name=libtsan.so)"
env LD_PRELOAD="$preload" "$bin/python" - "$tree" <<'PYTHON'
import pathlib
import sys

from adanns import _core

assert pathlib.Path(_core.__file__).is_relative_to(sys.argv[1]), f"{_core.__file__} is not the sanitized build"
PYTHON
env LD_PRELOAD="$preload" "$bin/python" tests/stress_threads.py "${1:-20}"
