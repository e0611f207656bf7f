"""Does the benchmark of code scans compare equal work?"""

from __future__ import annotations

import importlib.util

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is in the extra 'bench'"),
    pytest.mark.filterwarnings("ignore:builtin type Swig"),
]


def test_both_scan_the_same_codes_and_so_find_the_same_rows() -> None:
    from benchmarks.table_scan import BATCH, CODE_BYTES, scan_speeds

    speeds = list(scan_speeds(rounds=1, seed=0, rows=3000))
    assert [(speed.bits, speed.code_bytes, speed.queries) for speed in speeds] == [
        (bits, code_bytes, queries) for bits in (4, 8) for code_bytes in CODE_BYTES for queries in (1, BATCH)
    ]
    for speed in speeds:
        assert speed.overlap >= (0.8 if speed.bits == 4 else 0.95)  # FAISS rounds tables of 4-bit codes too
        assert speed.rows_per_second > 0
        assert speed.faiss_rows_per_second > 0
