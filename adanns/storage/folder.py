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

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import Arrays
from adanns.errors import CorruptIndexError, IndexLockedError
from adanns.storage import version_1
from adanns.storage.header import FORMAT
from adanns.storage.manifest import MANIFEST, REMOVED, SEGMENTS, Entry, Learnt, Manifest, read_manifest
from adanns.storage.segment import file_name, read_segment, write_segment

LOCK = "lock"
UNFINISHED_MANIFEST, UNFINISHED_SEGMENT = ".manifest.unfinished", ".segment.unfinished"
READ_ATTEMPTS = 5  # a save may remove the segments of a manifest between the two reads


@dataclass(frozen=True)
class Part:
    """A segment of an index: of the first one all arrays, of the others those of their own rows.

    removed: uint8, bit r % 8 of byte r // 8 is set where row r is; None where none is.
    file: what the folder holds the arrays as; "" where it does not.
    """

    arrays: Arrays
    removed: NDArray[np.uint8] | None = None
    file: str = ""


@dataclass(frozen=True)
class Stored:
    """An index as a folder holds it. `parameters` is JSON."""

    kind: str
    parameters: str
    parts: tuple[Part, ...]
    learnt: Learnt | None = None


def write_index(folder: Path, stored: Stored) -> list[str]:
    """Save an index; returns the names of its segment files. Parts that name a file of the folder are not written.

    Raises FileExistsError where the folder holds something else, IndexLockedError while another process saves there.
    """
    _require_index_or_nothing(folder)
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _sync(folder.parent)
    with _locked(folder):
        (folder / UNFINISHED_SEGMENT).unlink(missing_ok=True)  # of a crash
        metadata = {"format": FORMAT, "kind": stored.kind, "parameters": stored.parameters}
        entries = []
        for part in stored.parts:
            name = part.file
            if not name or not (folder / name).is_file():
                name = _write_file(folder, "segment", part.arrays, metadata)
            removed = None
            if part.removed is not None:
                removed = _write_file(folder, "removed", {"removed": part.removed}, {"format": FORMAT, "of": name})
            entries.append(Entry(name, removed))
        manifest = Manifest(stored.kind, stored.parameters, tuple(entries), stored.learnt)
        fresh = folder / UNFINISHED_MANIFEST
        with _removed_on_error(fresh):
            with fresh.open("w", encoding="utf-8") as file:
                file.write(manifest.to_json())
                file.flush()
                os.fsync(file.fileno())
            _sync(folder)  # the segments' names are on disk before anything refers to them
            fresh.replace(folder / MANIFEST)
        _sync(folder)
        for path in (*folder.glob(SEGMENTS), *folder.glob(REMOVED)):
            if path.name not in manifest.files:
                path.unlink(missing_ok=True)
        version_1.remove(folder)
    return [entry.arrays for entry in entries]


def read_index(folder: Path, *, mmap: bool, verify: bool) -> Stored:
    """The index of a folder; with `mmap` its arrays stay on disk until they are read.

    Sizes are always checked against what the files say of themselves, checksums with `verify`.
    """
    attempts = 0
    while True:
        attempts += 1
        if not (folder / MANIFEST).is_file():
            if not (folder / version_1.HEADER).is_file():
                raise FileNotFoundError(f"{folder} holds no saved index: {MANIFEST} is missing")
            kind, parameters, arrays = version_1.read_folder(folder, mmap)
            return Stored(kind, parameters, (Part(arrays),))
        manifest = read_manifest(folder)
        try:
            parts = tuple(_read_part(folder, manifest, entry, mmap=mmap, verify=verify) for entry in manifest.segments)
            return Stored(manifest.kind, manifest.parameters, parts, manifest.learnt)
        except CorruptIndexError:
            if attempts == READ_ATTEMPTS or all((folder / name).exists() for name in manifest.files):
                raise


def _read_part(folder: Path, manifest: Manifest, entry: Entry, *, mmap: bool, verify: bool) -> Part:
    path = folder / entry.arrays
    metadata, arrays = read_segment(path, mmap=mmap, verify=verify)
    if metadata.get("kind") != manifest.kind or _parsed(metadata.get("parameters")) != json.loads(manifest.parameters):
        raise CorruptIndexError(f"{path} is not of the index that {folder / MANIFEST} describes")
    if entry.removed is None:
        return Part(arrays, None, entry.arrays)
    place = folder / entry.removed
    said, bitmaps = read_segment(place, mmap=False, verify=verify)
    removed = bitmaps.get("removed", np.empty(0))
    if said.get("of") != entry.arrays or removed.dtype != np.uint8 or removed.ndim != 1:
        raise CorruptIndexError(f"{place} does not say which rows of {entry.arrays} are removed")
    return Part(arrays, removed, entry.arrays)


def _write_file(folder: Path, what: str, arrays: Arrays, metadata: dict[str, str]) -> str:
    """Write a file that is named after what is in it; returns the name."""
    unfinished = folder / UNFINISHED_SEGMENT
    with _removed_on_error(unfinished):
        name = file_name(what, write_segment(unfinished, arrays, metadata))
        unfinished.rename(folder / name)
    return name


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
    left_by_a_crash = all(Path(name).match(SEGMENTS) or Path(name).match(REMOVED) for name in names)
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
