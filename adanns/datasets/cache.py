"""Where do made things live, who makes them, and how does a half-made one never show?"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$ADANNS_CACHE, else ~/.cache/adanns. Not created here."""
    chosen = os.environ.get("ADANNS_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "adanns"


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The cached folder `name`; made by `make(working folder)` and then renamed if it is not there yet.

    The working folder `.NAME.partial` outlives a make that failed or was killed, and the next one is given it with
    what it holds. A make that takes long goes on from there: it writes each stage's file under another name, renames
    it when it is complete, and skips the stages whose files it finds. Other processes (and threads) that want the
    same folder wait, with a message, until it is made or the maker has gone; then one of them makes it.

    Raises what `make` raises, and OSError with what to do where the cache cannot be written to.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    with _locked(folder):
        if not folder.is_dir():
            _make(folder, make)
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    working = folder.with_name(f".{folder.name}.partial")
    working.mkdir(exist_ok=True)
    try:
        make(working)
    except BaseException:
        with contextlib.suppress(OSError):  # it holds finished stages: these stay
            working.rmdir()
        raise
    try:
        working.rename(folder)
    except OSError:
        # Where locks do not reach other machines, one of them may have been first; its copy is as good.
        if not folder.is_dir():
            raise
        shutil.rmtree(working)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold `.NAME.lock`, which names its holder, and remove it in the end.

    The kernel frees the lock when its process, and any forked from it, have died: none is ever stale. On network file
    systems flock reaches other machines only if the server supports it (NFS from Linux 2.6.12 on, unless mounted with
    local_lock); where it does not, machines that make a thing at once share a working folder: make it on one first.
    """
    file = folder.with_name(f".{folder.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            while not _acquire(lock := stack.enter_context(file.open("a+", encoding="utf-8")), folder.name):
                lock.close()
        except OSError as error:
            raise OSError(
                error.errno,
                f"{folder.name} cannot be made in the cache folder {folder.parent} ({error.strerror}); "
                "set ADANNS_CACHE to a folder that can be written to",
            ) from error
        stack.callback(file.unlink, missing_ok=True)  # while it is still locked, see _acquire
        yield


def _acquire(lock: IO[str], name: str) -> bool:
    """Wait for the lock and write its holder; False if it is of no use, since its holder has removed the file."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        logger.warning("waiting for %s, which is making %s", lock.read() or "another process", name)
        fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fstat(lock.fileno()).st_nlink == 0:
        return False
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
    return True
