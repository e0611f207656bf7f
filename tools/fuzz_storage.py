"""Open a million damaged indices under AddressSanitizer: each ends in an index or a named error.

    tools/sanitize.sh -k nothing                     # builds the sanitized extension in build/sanitize/tree
    python tools/fuzz_storage.py --inputs 1000000    # prints what was found and writes results.json

A worker opens inputs one after another; input N follows from --seed and N alone, so that any one can be had again with
--only N. This process watches: a worker that dies, hangs or grows is a finding, and the next goes on behind it.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_SECONDS = 20  # per input; a loaded machine stalls, so a hang is what lasts much longer than an input should
MOST_BYTES = 1 << 30  # of a worker: indices are of some kilobytes, Python and the sanitizer's shadow take the rest
LARGEST_ALLOCATION = 64  # MiB at once
STATE = struct.Struct("<qqq")  # the input at work, how many were refused, how many opened


def main() -> int:
    """Run workers until all inputs are through; returns 1 where anything was found."""
    options = _parser().parse_args()
    if options.worker is not None:
        return _work(options)
    began, findings = time.time(), []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        state_file = Path(scratch) / "state"
        state_file.write_bytes(STATE.pack(options.first, 0, 0))
        first, refused, opened = options.first, 0, 0
        last = options.first + options.inputs
        while first < last:
            log = Path(scratch) / "log"
            command = [sys.executable, __file__, f"--worker={scratch}", f"--seed={options.seed}"]
            command += [f"--first={first}", f"--inputs={last - first}"]
            with log.open("wb") as said:
                worker = subprocess.Popen(command, stdout=said, stderr=said, env=_environment())
                why = _watch(worker, state_file)
            words = log.read_text(errors="replace")
            at, more_refused, more_opened = STATE.unpack(state_file.read_bytes())
            refused, opened = refused + more_refused, opened + more_opened
            findings += [json.loads(line[8:]) for line in words.splitlines() if line.startswith("FINDING ")]
            if why is None and at >= last:
                break
            findings.append({"input": at, "what": why or "ended early", "said": words[-3000:]})
            print(f"input {at}: {why}", flush=True)
            first = at + 1
            state_file.write_bytes(STATE.pack(first, 0, 0))
    sys.path.insert(0, str(REPOSITORY))
    from benchmarks import machine, results

    report = {
        **results.heading("fuzz"),
        "inputs": options.inputs,
        "seed": options.seed,
        "first": options.first,
        "refused": refused,
        "opened_and_searched": opened,
        "findings": findings,
        "seconds": round(time.time() - began, 1),
        "sanitized": bool(_preloaded()),
    }
    print(json.dumps(report, indent=1))
    place = options.output or machine.results_folder("fuzz")
    place.mkdir(parents=True, exist_ok=True)
    results.write_content(report, place / "results.json")
    return 1 if findings else 0


def _watch(worker: subprocess.Popen[bytes], state_file: Path) -> str | None:
    """Wait for a worker; why it had to be ended, or None."""
    seen, since = -1, time.monotonic()
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        try:
            code = worker.wait(0.5)
            return None if code == 0 else f"ended with {code}"
        except subprocess.TimeoutExpired:
            pass
        at = STATE.unpack(state_file.read_bytes())[0]
        if at != seen:
            seen, since = at, time.monotonic()
        try:
            resident = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * page
        except OSError:
            continue
        too_long, too_large = time.monotonic() - since > MOST_SECONDS, resident > MOST_BYTES
        if too_long or too_large:
            worker.kill()
            worker.wait()
            return f"ran for {MOST_SECONDS} s" if too_long else f"took {resident >> 20} MiB"


def _work(options: argparse.Namespace) -> int:
    """Open inputs, saying at which we are in a file that outlives us."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    import hostile_files

    from adanns import _core

    tree = os.environ.get("PYTHONPATH")
    if "LD_PRELOAD" in os.environ and not Path(_core.__file__).is_relative_to(str(tree)):
        raise RuntimeError(f"{_core.__file__} is not the sanitized build in {tree}")
    corpus = hostile_files.corpus()
    folder = Path(options.worker) / "index"
    with (Path(options.worker) / "state").open("r+b") as file, mmap.mmap(file.fileno(), STATE.size) as state:
        _, refused, opened = STATE.unpack(state[:])
        for number in range(options.first, options.first + options.inputs):
            state[:] = STATE.pack(number, refused, opened)
            dice = random.Random(f"{options.seed} {number}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            saved = dice.choice(corpus)
            way = "?"
            try:
                way = hostile_files.damage(folder, saved, dice)
                ended = hostile_files.attempt(folder, dice)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{type(error).__name__}: {error} at {last.filename}:{last.lineno}"
                print("FINDING " + json.dumps({"input": number, "way": way, "what": what}), flush=True)
                if options.inputs == 1:
                    raise
                continue
            refused, opened = refused + (ended == "refused"), opened + (ended == "opened")
        state[:] = STATE.pack(options.first + options.inputs, refused, opened)
    return 0


def _preloaded() -> str:
    return _environment().get("LD_PRELOAD", "")


def _environment() -> dict[str, str]:
    """The sanitized build where there is one."""
    tree = Path(os.environ.get("ADANNS_SANITIZED_TREE", REPOSITORY / "build" / "sanitize" / "tree"))
    if not tree.is_dir():
        return dict(os.environ)
    compiler = os.environ.get("CXX", "g++")
    libraries = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    limits = f"max_allocation_size_mb={LARGEST_ALLOCATION}:hard_rss_limit_mb={MOST_BYTES >> 20}"
    return os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": f"detect_leaks=0:{limits}",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": str(tree),
        "OPENBLAS_NUM_THREADS": "1",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Open damaged indices under AddressSanitizer.")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input (default: 0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", default="/dev/shm" if Path("/dev/shm").is_dir() else None, help="where files go")
    parser.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results/CPU/RUN)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
