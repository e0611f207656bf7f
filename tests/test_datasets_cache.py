"""The cache: made once whoever asks, resumed after a failure, never seen half made."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adanns.datasets import cache

# Writes a line on each try, says that it is making, and ends when it is told to. Without the package: it starts faster.
MAKER = f"""
import runpy, sys
made_once = runpy.run_path({cache.__file__!r})["made_once"]

def make(folder):
    with (folder / "tries").open("a") as tries:
        tries.write("tried\\n")
    print("making", flush=True)
    sys.stdin.readline()

print(made_once("thing", make), flush=True)
"""


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADANNS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_cache_folder_defaults_to_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADANNS_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache.cache_folder() == Path("/home/someone/.cache/adanns")


def test_a_thing_is_made_once(cache_folder: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("x")

    assert cache.made_once("thing", make) == cache.made_once("thing", make) == cache_folder / "thing"
    assert len(made) == 1
    assert contents(cache_folder) == ["thing"]


def test_a_failed_making_shows_nothing_and_is_resumed(cache_folder: Path) -> None:
    def fail_after_a_stage(folder: Path) -> None:
        (folder / "stage-1").write_text("x")
        raise RuntimeError("no")

    def finish(folder: Path) -> None:
        assert contents(folder) == ["stage-1"]

    with pytest.raises(RuntimeError, match="no"):
        cache.made_once("thing", fail_after_a_stage)
    assert contents(cache_folder) == [".thing.partial"]
    assert contents(cache.made_once("thing", finish)) == ["stage-1"]
    assert contents(cache_folder) == ["thing"]


def test_a_making_that_failed_at_once_leaves_nothing(cache_folder: Path) -> None:
    def make(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.made_once("thing", make)
    assert contents(cache_folder) == []


def test_a_copy_from_elsewhere_wins_over_our_own(cache_folder: Path) -> None:
    def make_while_another_machine_finishes(folder: Path) -> None:
        (folder / "file").write_text("second")
        (cache_folder / "thing").mkdir()
        (cache_folder / "thing" / "file").write_text("first")

    assert (cache.made_once("thing", make_while_another_machine_finishes) / "file").read_text() == "first"
    assert contents(cache_folder) == ["thing"]


# ---- two processes


class Maker(subprocess.Popen[str]):
    """A process that runs MAKER."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        super().__init__([sys.executable, "-c", MAKER], stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def line(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline().rstrip("\n")

    def message(self) -> str:
        assert self.stderr is not None
        return self.stderr.readline().rstrip("\n")


@pytest.fixture
def makers(cache_folder: Path) -> Iterator[tuple[Maker, Maker]]:
    """One process that is making the thing, and one that waits for it."""
    cache_folder.mkdir()
    (cache_folder / ".thing.lock").write_text("process 123456789 on a machine that went down")  # holds nobody up
    with Maker() as first:
        assert first.line() == "making"
        with Maker() as second:
            holder = f"process {first.pid} on {socket.gethostname()}"
            assert second.message() == f"waiting for {holder}, which is making thing"
            try:
                yield first, second
            finally:
                first.kill()
                second.kill()


def test_of_two_processes_one_makes_and_the_other_waits(makers: tuple[Maker, Maker], cache_folder: Path) -> None:
    first, second = makers
    assert first.communicate("finish\n")[0] == second.communicate()[0] == f"{cache_folder / 'thing'}\n"
    assert (cache_folder / "thing" / "tries").read_text() == "tried\n"
    assert contents(cache_folder) == ["thing"]


def test_a_waiting_process_resumes_what_a_killed_one_began(makers: tuple[Maker, Maker], cache_folder: Path) -> None:
    first, second = makers
    first.kill()
    assert second.line() == "making"
    assert contents(cache_folder) == [".thing.lock", ".thing.partial"]
    assert second.communicate("finish\n")[0] == f"{cache_folder / 'thing'}\n"
    assert (cache_folder / "thing" / "tries").read_text() == "tried\ntried\n"
    assert contents(cache_folder) == ["thing"]


def test_the_lock_of_a_removed_file_is_of_no_use(tmp_path: Path) -> None:
    # Its holder removed it, and others may already hold the lock of a new file of that name.
    with (tmp_path / "lock").open("a+") as removed:
        (tmp_path / "lock").unlink()
        assert not cache._acquire(removed, "thing")


# ---- a cache that cannot be written to


def never_made(folder: Path) -> None:
    raise AssertionError("made without a lock")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_named_with_what_to_do(cache_folder: Path) -> None:
    cache_folder.mkdir(mode=0o555)
    with pytest.raises(
        PermissionError, match=r"thing cannot be made in .*/cache \(Permission denied\); set ADANNS_CACHE"
    ):
        cache.made_once("thing", never_made)


def test_a_file_in_the_cache_folders_place_is_named_with_what_to_do(cache_folder: Path) -> None:
    cache_folder.write_text("")
    with pytest.raises(FileExistsError, match=r"thing cannot be made in .*/cache \(File exists\); set ADANNS_CACHE"):
        cache.made_once("thing", never_made)


@pytest.mark.parametrize("reason", [errno.EROFS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_what_to_do(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        OSError, match=rf"thing cannot be made in .* \({os.strerror(reason)}\); set ADANNS_CACHE"
    ) as caught:
        cache.made_once("thing", never_made)
    assert caught.value.errno == reason


def test_what_is_made_is_found_in_a_read_only_cache(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache_folder / "thing").mkdir(parents=True)
    monkeypatch.setattr(cache, "_locked", None)  # nothing is locked, so nothing is written
    assert cache.made_once("thing", never_made) == cache_folder / "thing"
