"""Save once for every call to the disk, with that call failing. A program: faulty_disk.c is wrapped around its libc."""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from recipes import RECIPES, ROWS, assert_same, built, rows_of

import adanns


def changed() -> Any:
    """Several segments, one of them with rows removed: a save of many files."""
    index = RECIPES["ivf-codes"].build(RECIPES["ivf-codes"].make(), rows_of(ROWS))
    index.add(rows_of(50, seed=7))
    index.remove(range(0, ROWS, 3))
    return index


def fail_each_call(library: str, scratch: Path) -> dict[str, int]:
    """Save an index over nothing and over an older one, once for every call to the disk and error that it may meet."""
    disk = ctypes.CDLL(library)
    disk.faulty_disk_failed.restype = ctypes.c_char_p
    old, new = built("exact"), changed()
    new.save(scratch)
    files = len(list(scratch.iterdir()))
    failed: dict[str, int] = {}
    for before in (None, old):
        for error in (errno.ENOSPC, errno.EIO):
            which = 0
            while True:
                which += 1
                folder = scratch
                shutil.rmtree(folder, ignore_errors=True)
                if before is not None:
                    before.save(folder)
                raised = None
                disk.faulty_disk_set(which, error)
                try:
                    new.save(folder)
                except OSError as problem:
                    raised = problem
                finally:
                    calls = disk.faulty_disk_stop()
                what = disk.faulty_disk_failed().decode()
                if calls < which:
                    assert raised is None
                    break
                failed[what] = failed.get(what, 0) + 1
                here = f"{what}, call {which}, errno {error}, before: {before!r}"
                assert raised is None or raised.errno == error, f"{here}: {raised!r}"
                assert raised is not None or what in ("unlink", "close"), f"{here}: no error"
                assert_one_or_the_other(folder, before, new, here)
                new.save(folder)
                assert adanns.load(folder, verify=True).kind == new.kind, here
                assert len(list(folder.iterdir())) == files, f"{here}: {list(folder.iterdir())}"
    return failed


def assert_one_or_the_other(folder: Path, before: Any, new: Any, here: str) -> None:
    try:
        index = adanns.load(folder, verify=True)
    except FileNotFoundError:
        assert before is None, f"{here}: nothing is left"
        return
    assert index.kind in {one.kind for one in (before, new) if one is not None}, here
    expected = new if index.kind == new.kind else before
    search = RECIPES["exact" if expected is before else "ivf-codes"].exhaustive
    assert_same(search(index, rows_of(3, seed=1), index.rows), search(expected, rows_of(3, seed=1), index.rows))


if __name__ == "__main__":
    print(json.dumps(fail_each_call(sys.argv[1], Path(sys.argv[2]))))
