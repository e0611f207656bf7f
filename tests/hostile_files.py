"""Damage to saved indices: random, but with an idea of what is in them. What opens nevertheless is searched.

The short run is in test_hostile_files.py, the long one in tools/fuzz_storage.py.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import random
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import adanns
from adanns.storage.segment import read_segment, write_segment

Arrays = dict[str, NDArray[Any]]
LADDER = (5, 16, 33)
DIMS = LADDER[-1]
MOST_DIMS = 4096  # of an index that is searched: what claims more takes queries that no one has
GOLDEN = Path(__file__).parent / "golden"
REFUSALS = (adanns.CorruptIndexError, adanns.IncompatibleVersionError, FileNotFoundError)
_IVF: dict[str, Any] = {"cluster_dims": 16, "scan_dims": 16, "lists": 3, "iterations": 2}
_CODE: dict[str, Any] = {"code_bytes": 2, "bits": 4, "rotations": 1}
MADE: tuple[tuple[type[Any], int, dict[str, Any]], ...] = (
    (adanns.ExactIndex, 37, {"metric": "l2"}),
    (adanns.ExactIndex, 1, {"metric": "cosine", "precision": {16: "int8", 33: "float16"}}),
    (adanns.FunnelIndex, 37, {"metric": "cosine"}),
    (adanns.FunnelIndex, 37, {"metric": "ip", "precision": "int8"}),
    (adanns.IVFIndex, 37, {**_IVF, "metric": "cosine"}),
    (adanns.IVFIndex, 37, {**_IVF, "metric": "l2", "precision": {16: "float32", 33: "int8"}}),
    (adanns.IVFIndex, 37, {**_IVF, "metric": "ip", "scan_precision": None}),
    (adanns.OPQIndex, 37, {**_CODE, "scan_dims": 16, "metric": "l2"}),
    (adanns.OPQIndex, 260, {**_CODE, "scan_dims": 16, "bits": 8, "metric": "cosine", "precision": None}),
    (adanns.IVFOPQIndex, 37, {**_IVF, **_CODE, "metric": "cosine", "precision": None}),
    (adanns.IVFOPQIndex, 37, {**_IVF, **_CODE, "metric": "ip", "residual": False}),
    (adanns.CompactIndex, 37, {**_IVF, "scan_dims": 33, "bytes_per_vector": 3, "prefixes": (16,), "rotations": 1}),
    (
        adanns.CompactIndex,
        260,
        {**_IVF, "scan_dims": 33, "bytes_per_vector": 3, "prefixes": (5,), "rotations": 1, "metric": "l2"}
        | {"precision": None},
    ),
)
NUMBERS = (0, 1, -1, 2, 15, 16, 17, 64, 255, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 10**30)
VALUES = (
    *NUMBERS,
    None,
    True,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "ids",
    "plane_0",
    "../x",
    [],
    {},
    [[]],
    [1, 2],
    {"8": "int8"},
)


@dataclass
class Saved:
    """The files of a saved index; from version 2 on also what each segment file holds: (metadata, arrays) by name."""

    files: dict[str, bytes]
    segments: dict[str, tuple[dict[str, str], Arrays]] = field(default_factory=dict)

    @property
    def manifest(self) -> dict[str, Any]:
        """Read anew, so that it may be changed."""
        content: dict[str, Any] = json.loads(self.files["manifest.json"])
        return content


@functools.cache
def corpus() -> tuple[Saved, ...]:
    """An index of every class, in all metrics and number types; and those of every version."""
    generator = np.random.default_rng(5)
    found = []
    for index_class, count, options in MADE:
        rows = generator.standard_normal((count, DIMS)).astype(np.float32)
        rows[count // 2] = 0
        with tempfile.TemporaryDirectory() as folder:
            index_class(ladder=LADDER, **options).build(rows, threads=1).save(folder)
            found.append(_saved(Path(folder)))
    found += [_saved(folder) for folder in sorted(GOLDEN.glob("*/*")) if folder.is_dir()]
    return tuple(found)


def _saved(folder: Path) -> Saved:
    saved = Saved({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"})
    for name in saved.files:
        if name.endswith(".safetensors"):
            metadata, arrays = read_segment(folder / name, mmap=False, verify=True)
            metadata.pop("crc32")
            saved.segments[name] = metadata, arrays
    return saved


def attempt(folder: Path, dice: random.Random) -> str:
    """Open what is in a folder, and search it where it opens: "refused" or "opened". Any other error is a finding."""
    try:
        index: Any = adanns.load(folder, mmap=dice.random() < 0.7, verify=dice.random() < 0.05)
    except REFUSALS:
        return "refused"
    if index.dims > MOST_DIMS:
        return "opened"
    dims_keyword = {"exact": "dims", "funnel": "shortlist_dims"}.get(index.kind, "scan_dims")
    searches: list[dict[str, Any]] = [{}, {"k": 500}]
    searches += [{dims_keyword: dims} for dims in index.ladder[:4]]
    if dims_keyword == "scan_dims" and index.kind != "opq":
        searches += [{"probes": index.lists}, {"cluster_dims": index.ladder[0]}]
        # Searches of an index whose centroids are of another representation need queries of that.
        searches.append({"routing_queries": queries_of(index._need_built().centroid_dims)})
    for keywords in searches:
        with contextlib.suppress(ValueError, TypeError):
            index.search(queries_of(index.dims), threads=1, **keywords)
    return "opened"


@functools.lru_cache(100)
def queries_of(dims: int) -> NDArray[np.float32]:
    """Three queries, one of them zero."""
    queries = np.random.default_rng(dims).standard_normal((3, dims)).astype(np.float32)
    queries[1] = 0
    return queries


def damage(folder: Path, saved: Saved, dice: random.Random) -> str:
    """Write the files of an index to an empty folder with something wrong with them; returns how it went about it."""
    ways: list[Callable[[Path, Saved, random.Random], None]] = [flip, cut, spoil_json]
    if saved.segments:
        ways += [spoil_header, *[spoil_arrays] * 4]
    way = dice.choice(ways)
    way(folder, saved, dice)
    return way.__name__


def write(folder: Path, files: dict[str, bytes]) -> None:
    """The files as they are."""
    for name, content in files.items():
        with (folder / name).open("wb") as file:
            file.write(content)


def flip(folder: Path, saved: Saved, dice: random.Random) -> None:
    """Change some bytes."""
    files = dict(saved.files)
    name = dice.choice(list(files))
    content = bytearray(files[name])
    reach = len(content) if dice.random() < 0.5 else min(len(content), 2000)  # half of them where headers are
    for _ in range(dice.choice((1, 1, 2, 5, 30))):
        content[dice.randrange(reach)] = dice.choice((0, 255, 128, dice.randrange(256), ord(dice.choice('0159{}[]",'))))
    files[name] = bytes(content)
    write(folder, files)


def cut(folder: Path, saved: Saved, dice: random.Random) -> None:
    """Shorten, lengthen, repeat, swap or remove files."""
    files = dict(saved.files)
    name, other = dice.choice(list(files)), dice.choice(list(files))
    content = files[name]
    begin, end = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    what = dice.randrange(6)
    if what == 0:
        files[name] = content[:begin]
    elif what == 1:
        files[name] = content + bytes(dice.choice((1, 64, 4096)))
    elif what == 2:
        files[name] = content[:begin] + content[end:]
    elif what == 3:
        files[name] = content[:end] + content[begin:]
    elif what == 4:
        files[name], files[other] = files[other], files[name]
    else:
        del files[name]
    write(folder, files)


def spoil_json(folder: Path, saved: Saved, dice: random.Random) -> None:
    """Change the manifest, and half the time the segments' own copies of it alike."""
    files = dict(saved.files)
    if not saved.segments:
        content = json.loads(files["index.json"])
        files["index.json"] = _dumped(_changed(content, dice), dice)
        return write(folder, files)
    content = _changed(saved.manifest, dice)
    alike = dice.random() < 0.6 and isinstance(content, dict)
    if alike:
        for name, (metadata, arrays) in saved.segments.items():
            _write_segment(folder / name, arrays, _said_of(content, metadata))
            del files[name]
    files["manifest.json"] = _dumped(content, dice)
    return write(folder, files)


def spoil_header(folder: Path, saved: Saved, dice: random.Random) -> None:
    """Change what the segment says of its arrays, in as many bytes where that can be."""
    files = dict(saved.files)
    name = dice.choice(list(saved.segments))
    content = files[name]
    first = 8 + struct.unpack("<Q", content[:8])[0]
    text = _dumped(_changed(json.loads(content[8:first]), dice), dice)
    text += b" " * (first - 8 - len(text)) if dice.random() < 0.8 else b""
    length = len(text) if dice.random() < 0.95 else dice.choice(NUMBERS) % 2**64
    files[name] = struct.pack("<Q", length) + text + content[first:]
    write(folder, files)


def spoil_arrays(folder: Path, saved: Saved, dice: random.Random) -> None:
    """A whole segment, with correct checksums, of arrays that do not fit each other or those of other segments."""
    name, manifest = dice.choice(list(saved.segments)), saved.manifest
    arrays = dict(saved.segments[name][1])
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if not arrays:
            break
        change = dice.choice((_values, _values, _values, _shape, _shape, _kind, _names, _rungs, _coded_dims, _rows))
        change(arrays, manifest, dice)
    write(folder, saved.files)
    for other, (metadata, whole) in saved.segments.items():
        if other == name or manifest["parameters"] != saved.manifest["parameters"]:
            _write_segment(folder / other, arrays if other == name else whole, _said_of(manifest, metadata))
    write(folder, {"manifest.json": json.dumps(manifest).encode()})


def _said_of(manifest: Any, metadata: dict[str, str]) -> dict[str, str]:
    """What a segment says of its index, where it says it."""
    said = {"kind": str(manifest.get("kind")), "parameters": json.dumps(manifest.get("parameters"))}
    return metadata | {key: value for key, value in said.items() if key in metadata}


def _write_segment(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    path.unlink(missing_ok=True)
    with contextlib.suppress(TypeError):  # a dtype that no segment holds
        write_segment(path, {name: np.array(array, order="C") for name, array in arrays.items()}, metadata)


def _values(arrays: Arrays, manifest: Any, dice: random.Random) -> None:
    """Single values, integers most of all: the engine goes where they say."""
    integers = [name for name, array in arrays.items() if array.dtype.kind == "i" and array.itemsize > 1]
    name = dice.choice(integers if integers and dice.random() < 0.6 else list(arrays))
    array = arrays[name].copy()
    if not array.size:
        return
    flat = array.reshape(-1)
    if array.dtype.kind == "f" and dice.random() < 0.2:
        flat[:] = dice.choice((np.nan, np.inf, -np.inf, np.finfo(array.dtype).max, np.finfo(array.dtype).tiny, 0))
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(flat.size)
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                flat[at] = dice.choice((np.nan, np.inf, -np.inf, 0, 1, -1, np.finfo(array.dtype).max, 1e-45))
        elif array.dtype.kind == "b":
            flat[at] = not flat[at]
        else:
            limits = np.iinfo(array.dtype)
            near = int(flat[at]) + dice.choice((-1, 1, 16, -16))
            values = (
                *NUMBERS,
                near,
                near,
                int(flat[at]) * 2,
                int(flat[dice.randrange(flat.size)]),
                limits.min,
                limits.max,
            )
            flat[at] = min(max(dice.choice(values), limits.min), limits.max)
    arrays[name] = array


def _shape(arrays: Arrays, manifest: Any, dice: random.Random) -> None:
    name = dice.choice(list(arrays))
    array = arrays[name]
    what = dice.randrange(7)
    if what == 0:
        array = array[:-1]
    elif what == 1 and array.ndim:
        array = np.concatenate([array, array[:1]])
    elif what == 2:
        array = array.reshape(-1)
    elif what == 3:
        array = array[..., :-1]
    elif what == 4:
        array = array.reshape(array.shape[::-1])
    elif what == 5:
        array = array[np.newaxis] if dice.random() < 0.5 else array[..., np.newaxis]
    else:
        array = array[:0] if dice.random() < 0.5 else array[..., :0]
    arrays[name] = array


def _kind(arrays: Arrays, manifest: Any, dice: random.Random) -> None:
    name = dice.choice(list(arrays))
    array = arrays[name]
    kind = np.dtype(dice.choice(("i1", "u1", "i2", "f2", "i4", "f4", "u4", "i8", "f8", "u8", "?")))
    with np.errstate(all="ignore"):
        if dice.random() < 0.5 and array.ndim and array.shape[-1] * array.itemsize % kind.itemsize == 0:
            arrays[name] = np.ascontiguousarray(array).view(kind)
        else:
            arrays[name] = np.nan_to_num(array.astype(np.float64)).clip(-1e6, 1e6).astype(kind)


def _names(arrays: Arrays, manifest: Any, dice: random.Random) -> None:
    name, other = dice.choice(list(arrays)), dice.choice(list(arrays))
    what = dice.randrange(4)
    if what == 0:
        del arrays[name]
    elif what == 1:
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif what == 2:
        arrays[name] = arrays[other]
    else:
        segments = dice.choice(corpus()).segments  # of an index of another class
        if segments:
            _, foreign = dice.choice(list(segments.values()))
            taken = dice.choice(list(foreign))
            arrays[taken] = foreign[taken]


def _rungs(arrays: Arrays, manifest: Any, dice: random.Random) -> None:
    """Another ladder, with terms to match."""
    parameters = manifest["parameters"]
    ladder = list(parameters["ladder"])
    if dice.random() < 0.5 and len(ladder) > 1:
        ladder.pop(dice.randrange(len(ladder)))
    else:
        ladder = sorted({*ladder, dice.choice((1, 8, 15, 17, 32, 40, 48, 100))})
    if isinstance(parameters["precision"], dict) and dice.random() < 0.8:
        parameters["precision"] = "float16"
    parameters["ladder"] = ladder
    for name in ("terms", "centroid_terms"):
        if name in arrays and dice.random() < 0.8:
            arrays[name] = np.resize(arrays[name], (len(ladder), arrays[name].shape[-1]))


def _coded_dims(arrays: Arrays, manifest: Any, dice: random.Random) -> None:
    """A learnt code of more or fewer dims than there are, consistent in itself."""
    rotation, rungs = arrays.get("table_rotation"), arrays.get("table_rungs")
    if rotation is None or rungs is None or rotation.ndim != 2 or rungs.ndim != 2 or not rungs.size:
        return
    dims = dice.choice((5, 15, 16, 17, 33, 34, 64, 1000))
    arrays["table_rotation"] = np.resize(rotation, (len(rotation), dims))
    rungs = np.nan_to_num(rungs).astype(np.int64).clip(-(2**31), 2**31 - 1).astype(np.int32)
    rungs[-1, 0] = dims
    arrays["table_rungs"] = rungs


def _rows(arrays: Arrays, manifest: Any, dice: random.Random) -> None:
    """More or fewer rows, in most of the arrays that have them."""
    rows = arrays["ids"].shape[0] if "ids" in arrays and arrays["ids"].ndim else 0
    count = dice.choice((0, 1, 15, 16, 17, 36, 38, 48))
    for name, array in arrays.items():
        if array.ndim and len(array) == rows and rows and dice.random() < 0.9:
            arrays[name] = np.resize(array, (count, *array.shape[1:]))
        elif name == "list_offsets" and dice.random() < 0.9:
            arrays[name] = array.clip(0, count)
        elif name == "terms" and array.ndim == 2 and dice.random() < 0.9:
            arrays[name] = np.resize(array, (len(array), count + 32))
        elif name in ("code_blocks", "table_blocks") and array.ndim and dice.random() < 0.9:
            arrays[name] = np.resize(array, (-(-count // 16), *array.shape[1:]))


def _changed(content: Any, dice: random.Random) -> Any:
    """JSON with one to three of its nodes changed."""
    for _ in range(dice.choice((1, 1, 2, 3))):
        nodes = list(_nodes(content))
        if not nodes:
            return copy.deepcopy(dice.choice(VALUES))
        parent, key = dice.choice(nodes)
        what = dice.randrange(10)
        value = parent[key]
        if what < 4:
            parent[key] = copy.deepcopy(dice.choice(VALUES))
        elif what < 6 and isinstance(value, (int, float)):
            parent[key] = value + dice.choice((-1, 1, 64, -64)) if dice.random() < 0.7 else value * 2
        elif what == 6:
            del parent[key]
        elif what == 7:
            other, at = dice.choice(nodes)
            with contextlib.suppress(KeyError, IndexError):
                parent[key] = json.loads(json.dumps(other[at]))
        elif what == 8 and isinstance(parent, dict):
            parent[str(dice.choice(VALUES))] = parent.pop(key)
        elif what == 9 and isinstance(value, str) and value[:1] == "{":  # JSON in JSON: parameters, checksums
            parent[key] = json.dumps(_changed(json.loads(value), dice))
        else:
            parent[key] = [value, value] if dice.random() < 0.5 else {"x": value}
    return content


def _nodes(content: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    if isinstance(content, dict):
        own = [(content, key) for key in content]
    elif isinstance(content, list):
        own = [(content, key) for key in range(len(content))]
    else:
        return []
    return own + [node for parent, key in own for node in _nodes(parent[key])]


def _dumped(content: Any, dice: random.Random) -> bytes:
    text = json.dumps(content, separators=(",", ":"))
    if dice.random() < 0.03:
        text = text[:-1] + "," + text[1:]  # names come twice
    if dice.random() < 0.01:
        text = "[" * 100_000 + text
    return text.encode()
