"""Who may import whom: the table of DESIGN section 5, read from the sources without importing them.

A unit is a file or a folder directly in adanns/. Its imports count wherever they stand, lazy and typing-only ones too.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Folders and the units above the bottom layer; every other unit is at the bottom (arrays, results, errors, ...).
# A unit imports from lower layers; within a layer only the bottom's units import each other.
LAYERS = {
    "bottom": 0,
    "adaptive_classification": 1,
    "cuda": 1,
    "storage": 1,
    "training": 2,
    "datasets": 3,
    "indexes": 3,
    "mrl": 3,
    "cli": 4,
    "diagnosis": 4,
    "distributed": 4,
    "interop": 4,
    "serving": 4,
    "tuning": 4,
    "__init__": 5,
    "__main__": 5,
}
# Beside the standard library. numpy and tqdm are the dependencies of the core.
THIRD_PARTY_EVERYWHERE = {"numpy", "tqdm"}
THIRD_PARTY = {
    "cuda": {"cupy", "torch"},
    "datasets": {"pyarrow", "safetensors", "tokenizers", "wordllama"},
    "diagnosis": {"matplotlib"},
    "distributed": {"ray"},
    "interop": {"faiss"},
    "mrl": {"torch"},
    "serving": {"fastapi", "starlette", "uvicorn"},
}
# What each folder of csrc/ may include, as regular expressions. simd/ sees C headers only: an inline function of the
# STL, compiled there for AVX, could be linked into baseline code.
INCLUDES = {
    "core": r"<(?!Python|pybind11|\w+intrin)[\w.]+>|core/\w+\.h",
    "simd": r"<\w+\.h>|simd/\w+\.h|core/kernel_table\.h",
    "cuda": r"<\w+(\.h)?>|cuda/\w+\.(cuh|h)|core/index_view\.h|cuda_emulator\.h",
    "bindings": r"<[\w./]+>|(bindings|core|cuda)/\w+\.h",
}


def unit_of(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def layer_of(unit: str) -> int:
    return LAYERS.get(unit, LAYERS["bottom"])


def imported_modules(path: Path, package: Path) -> set[str]:
    """Absolute dotted names that a file imports; `from adanns import x` gives adanns.x."""
    names = set()
    folder = list(path.relative_to(package.parent).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = folder[: len(folder) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == package.name else {base}
    return names


def import_faults(package: Path) -> list[str]:
    """One line for every import that the table forbids."""
    units = {unit_of(path, package) for path in package.rglob("*.py")} | {"_core"}
    faults = []
    for path in sorted(package.rglob("*.py")):
        unit = unit_of(path, package)
        where = path.relative_to(package.parent)
        if path.parent != package and unit not in LAYERS:
            faults.append(f"{where}: the folder {unit} has no layer; give it one in LAYERS")
        for name in sorted(imported_modules(path, package)):
            top, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if top != package.name:
                if top not in sys.stdlib_module_names | THIRD_PARTY_EVERYWHERE | THIRD_PARTY.get(unit, set()):
                    faults.append(f"{where}: {unit} may not import {top}")
            elif target not in units:
                faults.append(f"{where}: {name} is the package's front door; import it from where it is defined")
            elif target != unit and not (layer_of(target) < layer_of(unit) or layer_of(target) == layer_of(unit) == 0):
                faults.append(f"{where}: {unit} may not import {target}")
    return faults


def included_file(path: Path, name: str, csrc: Path) -> str:
    """A quoted name as a path below csrc/; a name in angle brackets as it is."""
    if name.startswith("<"):
        return name
    beside = (path.parent / name.strip('"')).resolve()
    return str(beside.relative_to(csrc.resolve())) if beside.is_file() else name.strip('"')


def include_faults(csrc: Path) -> list[str]:
    """One line for every #include against bindings -> core -> kernel table <- simd and bindings -> cuda -> views."""
    faults = []
    for folder, allowed in INCLUDES.items():
        for path in sorted((csrc / folder).glob("*.*")):
            for name in re.findall(r'^\s*#\s*include\s+(<[^>]+>|"[^"]+")', path.read_text(), re.MULTILINE):
                if not re.fullmatch(allowed, included_file(path, name, csrc)):
                    faults.append(f"{path.relative_to(csrc)}: {folder} may not include {name}")
    return faults


def test_imports_of_the_package_follow_the_table() -> None:
    assert import_faults(ROOT / "adanns") == []


def test_includes_of_the_engine_follow_the_table() -> None:
    assert include_faults(ROOT / "csrc") == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("arrays.py", "from adanns.indexes.ivf import IVFIndex", "arrays may not import indexes"),
        ("datasets/icons.py", "def load():\n    from adanns import indexes", "datasets may not import indexes"),
        ("storage/files.py", "from ..training import kmeans", "storage may not import training"),
        ("indexes/ivf.py", "import torch", "indexes may not import torch"),
        ("arrays.py", "import cupy.cuda", "arrays may not import cupy"),
        ("indexes/ivf.py", "from adanns import IVFIndex", "adanns.IVFIndex is the package's front door"),
        ("gadgets/one.py", "", "the folder gadgets has no layer"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, path: str, source: str, fault: str) -> None:
    write(
        tmp_path / "adanns", {"indexes/__init__.py": "", "indexes/ivf.py": "", "training/kmeans.py": "", path: source}
    )
    (found,) = import_faults(tmp_path / "adanns")
    assert fault in found


def test_allowed_imports_pass(tmp_path: Path) -> None:
    write(
        tmp_path / "adanns",
        {
            "__init__.py": "from adanns import datasets\nfrom adanns.indexes import ivf",
            "results.py": "import dataclasses\nimport numpy as np\nfrom adanns.arrays import rows",
            "arrays.py": "from . import _core",
            "training/kmeans.py": "from .. import arrays\nfrom tqdm import tqdm",
            "indexes/ivf.py": "from ..training.kmeans import train\nfrom . import base\nfrom adanns._core import scan",
            "indexes/base.py": "from adanns.results import SearchResult",
            "mrl/loss.py": "import torch.nn as nn",
            "datasets/__init__.py": "from .. import arrays",
        },
    )
    assert import_faults(tmp_path / "adanns") == []


def test_a_forbidden_include_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"simd/kernels.cpp": "#include <vector>\n", "core/scan.h": '#include "simd/vec.h"\n'})
    assert include_faults(tmp_path) == [
        'core/scan.h: core may not include "simd/vec.h"',
        "simd/kernels.cpp: simd may not include <vector>",
    ]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
