"""Do the engine's tests pass at every instruction-set level of this machine? One process for each ADANNS_ISA."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adanns import _core

TESTS = Path(__file__).parent
REPEATED = [
    "test_kernels.py",
    "test_kernels_build.py",
    "test_kernels_tables.py",
    "test_table_search.py",
    "test_contract.py",
    "test_funnel.py",
    "test_ivf.py",
]


def run(isa: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ADANNS_ISA": isa}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=TESTS.parent, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("isa", [isa for isa in _core.available_isas() if isa != _core.isa()])
def test_the_engine_passes_its_tests_at_this_level(isa: str) -> None:
    files = [str(TESTS / name) for name in REPEATED]
    done = run(isa, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def digests() -> dict[str, str]:
    """Fingerprints of what must be the same to the bit at every level: integer dots, selections, conversions, codes."""
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 256, (11, 64 * 25)).astype(np.uint8)
    queries = generator.integers(-128, 128, (7, 100)).astype(np.int8)
    terms = generator.standard_normal(11 * 16).astype(np.float32)
    keys = generator.integers(0, 50, 999).astype(np.float32)
    rows = np.arange(999, dtype=np.uint32)
    vectors = generator.standard_normal((77, 40)).astype(np.float32)
    planes = [(0, 40, np.pad(vectors, ((0, 0), (0, 8))), None, None)]
    table_blocks = generator.integers(0, 256, (11, 7, 16)).astype(np.uint8)
    tables = {4: generator.integers(0, 256, (7, 256)), 8: generator.integers(0, 256, (7, 7 * 256))}
    # Tables come in groups of four bytes of code: those of the eighth byte, which codes of seven lack, are zeros.
    tables[4][:, [*range(176, 192), *range(240, 256)]] = 0
    codes = np.zeros((5, 640), np.uint8)
    _core.encode_blocks(planes, 40, True, np.array([0, 77], np.int64), codes, 1)
    results = {
        form: [
            _core.kernels.block_keys(blocks, queries, form, terms),
            *(
                _core.kernels.table_keys(table_blocks, bits, 7, table.astype(np.uint8), form, terms)
                for bits, table in tables.items()
            ),
        ]
        for form in ("plain", "add", "multiply")
    } | {
        "select": _core.kernels.select_smallest(keys, rows, 100)[:2],
        "collect": _core.kernels.collect_below(keys, 20.0, 0),
        "float16": [_core.kernels.to_float16(terms), _core.kernels.from_float16(np.arange(0x7C00, dtype=np.uint16))],
        "codes": [codes],
    }
    return {
        name: hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
        for name, arrays in results.items()
    }


def print_digests() -> None:
    print(json.dumps(digests()))


def test_integer_dots_selections_and_codes_are_identical_at_every_level() -> None:
    script = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import test_every_isa; test_every_isa.print_digests()"
    for isa in _core.available_isas():
        done = run(isa, "-c", script)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == digests(), isa


def test_an_unknown_level_is_refused_with_the_names_of_those_there_are() -> None:
    done = run("avx9", "-c", "import adanns")
    assert done.returncode != 0
    (message,) = [line for line in done.stderr.splitlines() if "ADANNS_ISA" in line]
    names = ", ".join(_core.available_isas()[:-1]) + " or " + _core.available_isas()[-1]
    assert "ADANNS_ISA=avx9 is not a level of this machine and build; choose " + names.removeprefix(" or ") in message


def test_levels_are_named_from_the_plainest_to_the_widest() -> None:
    known = ["baseline", "avx2", "avx512", "avx512_vnni", "avx512_vbmi"]
    assert _core.available_isas() == known[: len(_core.available_isas())]
    done = run("", "-c", "from adanns import _core; print(_core.isa())")
    assert done.stdout.split() == [_core.available_isas()[-1]]
