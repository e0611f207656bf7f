"""An index on disk: a folder with a manifest, which names immutable segment files (docs/format.md).

A save writes new segments beside the old ones and then swaps the manifest by a rename. Whoever reads, and whatever
crashes, finds the old index or the new one, whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adanns.arrays import Arrays
from adanns.errors import CorruptIndexError, IncompatibleVersionError, IndexLockedError
from adanns.storage import version_1
from adanns.storage.header import FORMAT, read_header
from adanns.storage.segment import read_segment, segment_name, write_segment

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
LOCK = "lock"
SEGMENTS = "segment-*.safetensors"
UNFINISHED_MANIFEST, UNFINISHED_SEGMENT = ".manifest.unfinished", ".segment.unfinished"
READ_ATTEMPTS = 5  # a save may remove the segments of a manifest between the two reads


@dataclass(frozen=True)
class Stored:
    """An index as a folder holds it. `parameters` is JSON; `file` names the segment."""

    kind: str
    parameters: str
    arrays: Arrays
    file: str


def write_index(folder: Path, kind: str, parameters: str, arrays: Arrays, *, known: str | None = None) -> str:
    """Save an index; returns the name of its segment file.

    known: the segment of this folder that holds these very arrays, if there is one: it is not written again.
    Raises FileExistsError where the folder holds something else, IndexLockedError while another process saves there.
    """
    _require_index_or_nothing(folder)
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _sync(folder.parent)
    with _locked(folder):
        unfinished = folder / UNFINISHED_SEGMENT
        unfinished.unlink(missing_ok=True)  # of a crash
        if known is None or not (folder / known).is_file():
            with _removed_on_error(unfinished):
                digest = write_segment(unfinished, arrays, {"format": FORMAT, "kind": kind, "parameters": parameters})
                known = segment_name(digest)
                unfinished.rename(folder / known)
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "kind": kind,
            "parameters": json.loads(parameters),
            "segments": [known],
        }
        fresh = folder / UNFINISHED_MANIFEST
        with _removed_on_error(fresh):
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            _sync(folder)  # the segment's name is on disk before anything refers to it
            fresh.replace(folder / MANIFEST)
        _sync(folder)
        for path in folder.glob(SEGMENTS):
            if path.name != known:
                path.unlink(missing_ok=True)
        version_1.remove(folder)
    return known


def read_index(folder: Path, *, mmap: bool, verify: bool) -> Stored:
    """The index of a folder; with `mmap` its arrays stay on disk until they are read.

    Sizes are always checked against what the files say of themselves, checksums with `verify`.
    """
    attempts = 0
    while True:
        attempts += 1
        content = _manifest(folder)
        if content is None:
            return Stored(*version_1.read_folder(folder, mmap), file="")
        kind, parameters, name = content
        try:
            metadata, arrays = read_segment(folder / name, mmap=mmap, verify=verify)
            break
        except CorruptIndexError:
            if attempts == READ_ATTEMPTS or (folder / name).exists():
                raise
    if metadata.get("kind") != kind or _parsed(metadata.get("parameters")) != json.loads(parameters):
        raise CorruptIndexError(f"{folder / name} is not of the index that {folder / MANIFEST} describes")
    return Stored(kind, parameters, arrays, name)


def _manifest(folder: Path) -> tuple[str, str, str] | None:
    """(kind, parameters, segment), or None where there is none but an index of version 1."""
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / version_1.HEADER).is_file():
            return None
        raise FileNotFoundError(f"{folder} holds no saved index: {MANIFEST} is missing")
    content, version = read_header(path, "the manifest")
    if version != FORMAT_VERSION:
        raise IncompatibleVersionError(
            f"{folder} has format version {version}; this adanns reads versions 1 and {FORMAT_VERSION}"
        )
    try:
        kind, parameters, (name,) = content["kind"], json.dumps(content["parameters"]), content["segments"]
        if not isinstance(kind, str) or Path(name).name != name or not Path(name).match(SEGMENTS):
            raise ValueError(f"kind {kind!r} in segment {name!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptIndexError(f"{path} does not describe an index: {error!r}") from error
    return kind, parameters, name


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return None


def _require_index_or_nothing(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} exists and is not a saved index; choose another folder")
    names = {path.name for path in folder.iterdir()} - {LOCK, UNFINISHED_MANIFEST, UNFINISHED_SEGMENT}
    left_by_a_crash = all(Path(name).match(SEGMENTS) for name in names)
    if not left_by_a_crash and not names & {MANIFEST, version_1.HEADER}:
        raise FileExistsError(f"{folder} exists and is not a saved index; choose another folder")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel frees it when the process dies."""
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IndexLockedError(f"{folder} is being saved by another process; try again when it is done") from None
        yield


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """See renames and new names in a folder onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
