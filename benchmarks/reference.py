"""The papers' published curves; their sources are in reference/README.md."""

from pathlib import Path

from benchmarks.results import read_csv

FOLDER = Path(__file__).parent / "reference"
EXACT_MFLOPS = 2623.83  # 1,281,167 rows x 2048 dims

Points = list[tuple[float, float, str]]


def top1_by_dims() -> dict[str, Points]:
    """Exact 1-NN on ImageNet-1K: (dims, top-1 %, text) of MRL and of what it is up against."""
    rows = read_csv(FOLDER / "imagenet1k_1nn_top1_by_dims.csv")
    names = {"mrl": "MRL", "rigid": "one model per size", "svd": "SVD", "random_features": "random features"}
    return {
        shown: [(float(row["dims"]), float(row[column]), f"{row['dims']} dims") for row in rows]
        for column, shown in names.items()
    }


def linear_top1_by_dims() -> dict[str, Points]:
    """Linear classifiers on ImageNet-1K: (dims, top-1 %, text) of MRL's rungs and of one model for each size."""
    rows = read_csv(FOLDER / "imagenet1k_linear_top1_by_dims.csv")
    return {
        shown: [(float(row["dims"]), float(row[column]), f"{float(row['dims']):g} dims") for row in rows]
        for column, shown in {"mrl": "MRL", "rigid": "one model per size"}.items()
    }


def adaptive_classification() -> Points:
    """Cascades on ImageNet-1K: (expected dims, top-1 %, text)."""
    return [
        (float(row["expected_dims"]), float(row["top1"]), f"up to {row['max_dims']} dims")
        for row in read_csv(FOLDER / "adaptive_classification_imagenet1k.csv")
        if row["expected_dims"] != "-"
    ]


def map_by_mflops() -> dict[str, Points]:
    """Retrieval on ImageNet-1K: (MFLOPs per query, mAP@10 %, text), exact at every rung, adaptive, and funnels."""
    exact = [
        (EXACT_MFLOPS * float(row["dims"]) / 2048, float(row["mrl"]), f"{row['dims']} dims")
        for row in read_csv(FOLDER / "imagenet1k_map10_by_dims.csv")
    ]
    adaptive = [
        (float(row["mflops_per_query"]), float(row["map10"]), f"{row['shortlist_dims']} dims, then 200 at 2048")
        for row in read_csv(FOLDER / "adaptive_retrieval_imagenet1k.csv")
        if row["rerank_dims"] == "2048"
    ]
    funnels = [
        (
            float(row["mflops_per_query"]),
            float(row["map10"]),
            f"{row['shortlist_dims']} dims, then {row['rerank_dims_cascade']}",
        )
        for row in read_csv(FOLDER / "funnel_retrieval.csv")
        if row["dataset"] == "1K"
    ]
    return {"MRL exact": exact, "MRL adaptive": adaptive, "MRL funnel": funnels}


def top1_by_milliseconds() -> dict[str, Points]:
    """IVF on ImageNet-1K: (ms per query, top-1 %, text)."""
    names = {"adanns_ivf": "AdANNS-IVF", "rigid_ivf": "rigid IVF"}
    curves: dict[str, Points] = {shown: [] for shown in names.values()}
    for row in read_csv(FOLDER / "ivf_latency_vs_top1_imagenet1k.csv"):
        curves[names[row["method"]]].append((float(row["ms_per_query"]), float(row["top1"]), "read off figure 1"))
    return curves


def quantised_top1_by_bytes() -> dict[str, Points]:
    """OPQ and IVFOPQ codes on ImageNet-1K: (bytes, top-1 %, text) of prefixes, of all dims, and of a rigid model."""
    names = ("AdANNS-OPQ", "OPQ-MR-2048", "Rigid-OPQ", "AdANNS-IVFOPQ", "IVFOPQ-MR-2048", "Rigid-IVFOPQ")
    by_name = {row.pop("index"): row for row in read_csv(FOLDER / "quantized_top1_by_bytes_imagenet1k.csv")}
    return {
        name: [
            (float(column.removeprefix("bytes_")), float(top1), "read off figures 3 and 4")
            for column, top1 in by_name[name].items()
        ]
        for name in names
    }
