"""`python -m adanns`: build, search, describe, check and compact indices on files."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adanns.datasets import read_vectors
from adanns.indexes import INDEX_CLASSES, Index, load

KINDS = {index_class.kind: index_class for index_class in INDEX_CLASSES}
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
FAILED = 1  # exit code; misuse is argparse's 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. What was expected of files is said on stderr, without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        answer = options.run(options)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        print(f"adanns {options.command}: {error}", file=sys.stderr)
        return FAILED
    if options.json:
        print(json.dumps(answer))
    else:
        for name, value in answer.items():
            print(f"{name}: {_shown(value)}")
    return 0


def _build(options: argparse.Namespace) -> dict[str, Any]:
    # Within a budget, what cannot be mapped is decoded to disk too.
    scratch = None if options.memory_budget is None else options.scratch or tempfile.gettempdir()
    vectors, ids = read_vectors(options.vectors, scratch=scratch)
    index = KINDS[options.kind](**dict(options.set))
    budget = {"memory_budget": options.memory_budget, "scratch": options.scratch}
    index.build(vectors, ids, threads=options.threads, **budget)
    index.save(options.folder)
    return _described(index) | {"folder": str(options.folder)}


def _search(options: argparse.Namespace) -> dict[str, Any]:
    index: Any = load(options.folder, mmap=options.mmap, memory_dims=options.memory_dims)
    queries, query_ids = read_vectors(options.queries)
    result = index.search(queries, options.k, threads=options.threads, **dict(options.set))
    found: dict[str, Any] = {"distances": result.distances, "ids": result.ids}
    if options.output is not None:
        if query_ids is not None:
            found["query_ids"] = query_ids
        np.savez(options.output, **found)
        return {"queries": len(result.ids), "k": options.k, "written": str(options.output)}
    return {name: array.tolist() for name, array in found.items()}


def _info(options: argparse.Namespace) -> dict[str, Any]:
    files = [path for path in options.folder.iterdir() if path.is_file()] if options.folder.is_dir() else []
    return _described(load(options.folder, mmap=True)) | {"bytes_on_disk": sum(path.stat().st_size for path in files)}


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    index = load(options.folder, mmap=True, verify=True)
    return {"folder": str(options.folder), "kind": index.kind, "rows": index.rows, "verified": True}


def _compact(options: argparse.Namespace) -> dict[str, Any]:
    index = load(options.folder, mmap=True)
    before = index.health()
    index.compact().save(options.folder)
    return {
        "folder": str(options.folder),
        "rows": index.rows,
        "removed_rows_dropped": before.removed,
        "segments_merged": before.segments,
    }


def _described(index: Index[Any]) -> dict[str, Any]:
    health = index.health()
    return {
        "kind": index.kind,
        "rows": index.rows,
        "dims": index.dims,
        "ladder": list(index.ladder),
        "bytes_per_vector": round(index.bytes_per_vector, 1),
        "parameters": json.loads(index.parameters.to_json()),
        "removed_rows": health.removed,
        "segments": [len(arrays["ids"]) for arrays in index.segments],
        "advice": f"{health.advice}: {health.reason}",
        "arrays": {
            name: f"{array.dtype} {'x'.join(map(str, array.shape))}" for name, array in index.segments[0].items()
        },
    }


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {part}" for name, part in value.items())
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "".join("\n  " + " ".join(map(str, row)) for row in value)
    return str(value)


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON or else as text."""
    name, separator, value = text.partition("=")
    if not (name.isidentifier() and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _size(text: str) -> int:
    """Bytes, or so many K, M, G or T (1000, 1000^2, ...) of them."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in UNITS and text[-1:] else (text, "")
    try:
        size = int(float(number) * UNITS[unit])
    except ValueError:
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 800M or 4G")
    return size


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="adanns", description="Nearest neighbours of Matryoshka embeddings.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, what: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=what, description=what)
        one.add_argument("--json", action="store_true", help="print one line of JSON")
        one.set_defaults(run=run)
        return one

    build = command("build", _build, "index the vectors of a .npy, .fbin, Arrow or Parquet file")
    build.add_argument("vectors", type=Path)
    build.add_argument("folder", type=Path)
    build.add_argument("--kind", choices=KINDS, default="ivf")
    build.add_argument(
        "--memory-budget", type=_size, metavar="SIZE", help="such as 4G: what does not fit is made in files"
    )
    build.add_argument("--scratch", type=Path, help="folder for those files (default: the system's temporary one)")
    search = command("search", _search, "the nearest rows to the vectors of a file")
    search.add_argument("folder", type=Path)
    search.add_argument("queries", type=Path)
    search.add_argument("--k", type=int, default=10)
    search.add_argument("--output", type=Path, help=".npz file for distances and ids (default: print them)")
    search.add_argument("--mmap", action="store_true", help="leave the index on disk until it is read")
    search.add_argument(
        "--memory-dims", type=int, help="with --mmap: read planes of fewer dims to memory, and all that is no plane"
    )
    for one in (build, search):
        one.add_argument("--threads", type=int, help="default: all that this process may use")
        one.add_argument(
            "--set",
            type=_setting,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="an argument of the index class or of search, such as scan_dims=32 or metric=l2; may come again",
        )
    info = command("info", _info, "what an index holds")
    verify = command("verify", _verify, "read an index whole and compare all checksums")
    compact = command("compact", _compact, "make an index one segment without removed rows, in place")
    for one in (info, verify, compact):
        one.add_argument("folder", type=Path)
    return parser
