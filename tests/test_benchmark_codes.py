"""The benchmark of codes: what is swept, what its summary says, its figures and page, and one tiny run end to end."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import measurements
import numpy as np
import pytest

from benchmarks import __main__ as command_line
from benchmarks import codes_figures, codes_summary, codes_table, page, reference, results
from benchmarks.codes_results import CASCADED, RERANKED, OPQBuild
from benchmarks.results import Measurement, Run
from benchmarks.styles import STYLES

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is in the extra 'bench'")
ROOT = Path(__file__).resolve().parents[1]
RIGID = "FAISS OPQ, rigid model"


def measurement(method: str, size: int, us: float, recall: float | None, **others: Any) -> Measurement:
    """Of a code of `size` bytes."""
    own = {
        "family": "rigid" if "rigid" in method else method.split()[0].lower(),
        "parameters": {"bytes": size, "bits": 8, "dims": 64},
        "bytes_per_vector": size + 8.0,
    }
    return measurements.measurement(method, us, recall, **(own | others))


def some_measurements() -> list[Measurement]:
    listed = {"bytes": 16, "bits": 4, "dims": 64, "lists": 16, "probes": 4}
    return [
        measurement(RIGID, 64, 90, None, top1=0.85),
        measurement("adanns OPQ", 16, 20, 0.5, top1=0.8485),
        measurement("adanns OPQ", 16, 30, 0.6, top1=0.84, parameters={"bytes": 16, "bits": 8, "dims": 128}),
        measurement("FAISS OPQ", 16, 40, 0.55, top1=0.83),
        measurement("adanns IVFOPQ 4-bit" + RERANKED, 16, 5, 0.91, top1=0.85, parameters=listed),
        measurement("adanns IVFOPQ 4-bit" + RERANKED, 16, 10, 0.97, top1=0.85, parameters=listed | {"probes": 8}),
        measurement("adanns IVFOPQ 4-bit" + CASCADED, 16, 4, 0.96, top1=0.85, parameters=listed),
        measurement("FAISS IVFOPQ 4-bit" + RERANKED, 16, 20, 0.92, top1=0.85, parameters=listed),
        measurement("FAISS IVFOPQ 4-bit" + RERANKED, 16, 40, 0.96, top1=0.85, parameters=listed | {"probes": 8}),
    ]


def some_builds() -> list[OPQBuild]:
    return [
        OPQBuild("adanns", 64, 16, 0, 1000, 1.0, 0.05),
        OPQBuild("adanns", 64, 16, 10, 1000, 2.0, 0.04),
        OPQBuild("FAISS", 64, 16, 10, 1000, 3.0, 0.045),
    ]


def small_run() -> Run:
    rows = some_measurements()
    return Run(
        benchmark="codes",
        date="2026-01-02T03:04:05+00:00",
        machine={"cpu": "A processor", "cores": 2, "commit": None, "commit_is_dirty": False},
        dataset={"name": "</script><b>made up", "rows": 1000, "dims": 128, "queries": 400, "metric": "cosine",
                 "source": "here", "ladder": [64, 128]},
        options={"threads": 2, "rounds": 3, "seed": 0, "bytes": [16, 64], "shortlist": 100},
        measurements=rows,
        summary=codes_summary.summarise(rows, some_builds(), 400),
    )  # fmt: skip


def test_best_by_bytes_is_chosen_for_each_quality_by_itself() -> None:
    best = {row["method"]: row for row in small_run().summary["best"]["alone"]}
    ours = best["adanns OPQ"]
    assert (ours["recall10"], ours["parameters"]["recall10"]["dims"]) == (0.6, 128)
    assert (ours["top1"], ours["parameters"]["top1"]["dims"]) == (0.8485, 64)
    assert best[RIGID]["recall10"] is None
    assert "adanns IVFOPQ 4-bit" + RERANKED not in best


def test_a_short_code_of_ours_is_held_against_the_longest_of_the_rigid_model() -> None:
    (row,) = small_run().summary["against_rigid"]
    assert (row["ours"], row["bytes"], row["rigid"], row["rigid_bytes"]) == ("adanns OPQ", 16, RIGID, 64)
    assert row["difference"] == pytest.approx(-0.0015)
    assert row["standard_error"] == pytest.approx((0.85 * 0.15 / 400) ** 0.5)


def test_same_rerank_leaves_cascades_out() -> None:
    (row,) = small_run().summary["same_rerank"]
    assert (row["our_recall"], row["peer_recall"]) == (0.97, 0.96)
    assert row["difference"] == pytest.approx(0.01)


def test_equal_recall_takes_the_fastest_that_reach_it() -> None:
    batches = {row["target"]: row for row in small_run().summary["equal_recall"] if row["cost"] == "batch_us"}
    # .97 is beyond FAISS; its best, .96, is a target of its own.
    assert sorted(batches) == [0.8, 0.9, 0.95, 0.96]
    assert (batches[0.9]["our_us"], batches[0.9]["peer_us"], batches[0.9]["ratio"]) == (5, 20, 4)
    assert (batches[0.96]["our_us"], batches[0.96]["peer_us"], batches[0.96]["is_peers_best"]) == (10, 40, True)
    # With a cascade of our own 4 us do.
    assert batches[0.96]["cascade_ratio"] == 10


def test_builds_are_compared_at_equal_distortion() -> None:
    (row,) = small_run().summary["opq_at_equal_distortion"]
    # From the start alone .05 is not as good as FAISS's .045.
    assert (row["our_rotations"], row["our_seconds"], row["peer_seconds"], row["reached"]) == (10, 2.0, 3.0, True)
    (none,) = codes_summary.builds_at_equal_distortion(
        [*some_builds()[:2], OPQBuild("FAISS", 64, 16, 10, 1000, 3.0, 0.01)]
    )
    assert (none["reached"], none["our_distortion"]) == (False, 0.04)


def test_claims_say_whether_they_hold() -> None:
    lines = list(codes_table.claims(small_run().summary))
    verdicts = {re.sub(r"[ ,:].*", "", line[4:]): line[:3] for line in lines}
    assert verdicts == {"top-1": "yes", "16": "yes", "OPQ": "yes"}
    assert "84.85 %" in lines[0]
    assert "-0.15 points" in lines[0]
    assert "4.0x" in lines[2]


def test_every_curve_has_a_style_and_every_size_a_panel() -> None:
    drawn = {figure.key: figure for figure in codes_figures.figures(small_run())}
    assert set(drawn) == {"recall_by_bytes", "top1_by_bytes", "recall_by_time", "recall_by_latency", "alone_by_time"}
    for figure in drawn.values():
        assert {series.name for panel in figure.panels for series in panel.series} <= set(STYLES)
    assert [panel.title for panel in drawn["recall_by_time"].panels] == ["16 bytes"]


def test_published_codes_hold_the_papers_headline() -> None:
    published = {
        name: {size: top1 for size, top1, _ in points} for name, points in reference.quantised_top1_by_bytes().items()
    }
    # "A 32-byte code of a prefix equals a 64-byte code of the rigid model", within .1 point.
    assert published["AdANNS-OPQ"][32] > published["Rigid-OPQ"][64] - 0.1
    assert all(published["AdANNS-OPQ"][size] > published["Rigid-OPQ"][size] for size in (8, 16, 32, 64))


def test_page_of_codes_keeps_its_data_inside_and_loads_nothing() -> None:
    run = small_run()
    text = page.render(run, codes_figures.figures(run))
    assert "<b>made up" not in text
    assert not re.search(r"/\*(STYLE|SCRIPT|CONTENT)\*/", text)
    assert not re.search(r"""\b(src|href)\s*=\s*["'](?!data:)|@import|url\(|\bfetch\(|\bimport\b""", text)
    (content,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)
    assert json.loads(content)["run"] == dataclasses.asdict(run)


def test_draw_makes_page_and_plots_of_codes_anew(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results.write_json(small_run(), tmp_path / "results.json")
    command = [sys.executable, "-m", "benchmarks", "draw", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == codes_table.report(small_run()).strip()
    assert {path.name for path in tmp_path.iterdir()} >= {"index.html", "recall_by_bytes.png", "top1_by_bytes.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bytes", "16,half"], "'half' is not a whole number from 1 on"),
        (["--methods", "opq,pq"], "'pq' is unknown; choose from opq, ivfopq, compact"),
    ],
)
def test_bad_options_of_codes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["codes", *arguments])
    assert message in capsys.readouterr().err


@needs_faiss
@pytest.mark.filterwarnings("ignore:builtin type Swig")
def test_prefixes_have_two_to_eight_dims_a_byte_and_fit_their_segments() -> None:
    from benchmarks.methods.code_sweep import CodeSweep

    ladder = tuple(2**power for power in range(3, 12))
    sweep = CodeSweep.of(1_000_000, ladder, (8, 16, 32, 64), seed=0, quick=False)
    assert {size: sweep.prefixes(size, 4) for size in sweep.sizes} == {
        8: [64],
        16: [64, 128],
        32: [64, 128, 256],
        64: [128, 256],
    }
    assert sweep.reduced_dims == 256
    assert sweep.rerank == [(2048, 100)]
    # 64 bytes of 4 bits are 128 segments: more than 64 dims have. Of 8 bits they are one dim each.
    short = CodeSweep.of(2000, (8, 16, 32, 64), (64,), seed=0, quick=False)
    assert (short.prefixes(64, 4), short.prefixes(64, 8), short.reduced_dims) == ([], [64], 64)


@needs_faiss
@pytest.mark.filterwarnings("ignore:builtin type Swig")
def test_rabitq_gets_the_most_bits_that_its_bytes_hold_with_its_factors() -> None:
    from benchmarks.methods.faiss_codes import faiss, most_rabitq_bits

    for dims, size in ((64, 8), (64, 16), (64, 64), (128, 32), (256, 64)):
        bits = most_rabitq_bits(dims, size)
        longer = faiss.RaBitQuantizer(dims, faiss.METRIC_L2, bits + 1).code_size
        assert longer > size
        assert bits == 0 or faiss.RaBitQuantizer(dims, faiss.METRIC_L2, bits).code_size <= size
    assert most_rabitq_bits(64, 8) == 0


@needs_faiss
@pytest.mark.filterwarnings("ignore:builtin type Swig")
def test_faiss_search_of_a_prefix_is_that_of_its_renormalised_slice() -> None:
    from adanns.datasets import Dataset
    from benchmarks.data import prepare
    from benchmarks.methods.code_sweep import CodeSweep
    from benchmarks.methods.faiss_codes import FaissCodes

    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((660, 32)) / np.sqrt(1 + np.arange(32))).astype(np.float32)
    made = Dataset("made", vectors[:600], vectors[600:], None, None, (16, 32), "cosine", "here", "none")
    sweep = CodeSweep.of(600, made.ladder, (16,), seed=0, quick=True)
    workload, database = prepare(made, None, 0, 1)
    # 16 dims in 16 bytes: 8 bits a dim, so that the order of the codes is nearly that of the prefix.
    (codes,) = [built for built in FaissCodes(workload, database, dataclasses.replace(sweep, ladder=(16,)), 1).opq()
                if built.method == "FAISS OPQ"]  # fmt: skip
    found = codes.settings[0].search(workload.queries, 10, 1)
    prefix = vectors[:, :16] / np.linalg.norm(vectors[:, :16], axis=1, keepdims=True)
    expected = np.argsort(-prefix[600:] @ prefix[:600].T, axis=1)[:, :10]
    common = [len(set(one) & set(other)) for one, other in zip(found, expected, strict=True)]
    assert np.mean(common) > 9.3


@needs_faiss
def test_tiny_run_from_end_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 700)
    # Every class has a centre; later dims carry less, as in a Matryoshka embedding.
    vectors = rng.standard_normal((10, 32))[labels] + 0.5 * rng.standard_normal((700, 32))
    vectors = (vectors / np.sqrt(1 + np.arange(32))).astype(np.float16)
    turned = vectors @ np.linalg.qr(rng.standard_normal((32, 32)))[0].astype(np.float16)
    for folder, rows in ((tmp_path / "data", vectors), (tmp_path / "data" / "rigid-32", turned)):
        folder.mkdir()
        np.save(folder / "database.npy", rows[:640])
        np.save(folder / "queries.npy", rows[640:])
    np.save(tmp_path / "data" / "database_labels.npy", labels[:640])
    np.save(tmp_path / "data" / "query_labels.npy", labels[640:])
    (tmp_path / "data" / "ladder.json").write_text("[8, 16, 32]")

    command = [sys.executable, "-m", "benchmarks", "codes", "--dataset", f"npy:{tmp_path / 'data'}", "--quick"]
    command += ["--threads", "1", "--rounds", "1", "--bytes", "4,8", "--output", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    run = results.read_json(tmp_path / "results" / "results.json")
    methods = {row.method for row in run.measurements}
    assert methods <= set(STYLES)
    assert {"adanns Compact", "adanns OPQ 4-bit", "FAISS IVFOPQ 4-bit", "FAISS OPQ, all dims"} <= methods
    assert {row.recall10 for row in run.measurements if row.family == "rigid"} == {None}
    assert str(tmp_path) not in (tmp_path / "results" / "results.json").read_text()
    for row in run.measurements:
        whole_vectors = 2 * 32 if row.method.endswith((RERANKED, CASCADED)) else 0
        assert row.bytes_per_vector >= row.parameters["bytes"] + 8 + whole_vectors  # ids take 8
        if row.method.endswith(RERANKED):
            assert row.parameters["rerank"] == [[32, 100]]
    ours = [row["recall10"] for row in run.summary["best"]["alone"] if row["method"] == "adanns OPQ"]
    assert ours == sorted(ours)
    assert {row["who"] for row in run.summary["opq_builds"]} <= {"adanns", "FAISS"}
    assert "What it comes to:" in done.stdout
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names >= {"results.csv", "index.html", "recall_by_bytes.png", "recall_by_time.png"}
