"""Is an index whole whatever happens to a save: killed at any moment, or with any call to the disk failing?

Longer: `python -m benchmarks crash`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipes import built

import adanns

HERE = Path(__file__).resolve().parent
KILLS = 60


def test_killed_saves_leave_one_index_or_the_other(tmp_path: Path) -> None:
    code = "import sys; from benchmarks import __main__; sys.exit(__main__.main(sys.argv[1:]))"
    arguments = ["crash", "--kills", str(KILLS), "--folder", str(tmp_path), "--output", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=HERE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (found["kills"], found["lost"]) == (KILLS, [])
    assert sum(found["whole_after_a_kill"].values()) == KILLS
    assert found["saves_over_what_was_left"] == {"tried": KILLS // 10, "whole_and_tidy": KILLS // 10}


def test_every_call_to_the_disk_may_fail(tmp_path: Path) -> None:
    """In a process of its own, since libc is wrapped: see faulty_disk.py."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the faulty disk is C, for Linux")
    library = tmp_path / "faulty_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "faulty_disk.c", "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, HERE / "faulty_disk.py", library, tmp_path / "saved"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    failed = json.loads(done.stdout)
    assert {"open", "write", "fsync", "rename", "unlink", "close", "mkdir"} <= set(failed)
    assert sum(failed.values()) > 80


def test_a_file_that_may_not_grow_leaves_the_old_index(tmp_path: Path) -> None:
    """The kernel's own refusal, in the middle of a write."""
    old, new = built("exact"), built("ivf-codes")
    old.save(tmp_path / "index")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_001, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            new.save(tmp_path / "index")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert adanns.load(tmp_path / "index", verify=True).kind == "exact"
    assert len(list((tmp_path / "index").iterdir())) == 3
    new.save(tmp_path / "index")
    assert adanns.load(tmp_path / "index", verify=True).kind == "ivf"


def test_a_save_that_writes_nothing_new_still_clears_up_after_a_crash(tmp_path: Path) -> None:
    index = built("exact")
    index.save(tmp_path / "index")
    for name in (".segment.unfinished", ".manifest.unfinished", "segment-0123456789abcdef.safetensors"):
        (tmp_path / "index" / name).write_bytes(b"half of it")
    index.save(tmp_path / "index")
    assert len(list((tmp_path / "index").iterdir())) == 3
