"""How each curve looks, by its name, in all figures and on the page."""

from dataclasses import dataclass

from benchmarks.codes_results import CASCADED, RERANKED

# Okabe and Ito's palette (jfly.uni-koeln.de/color), told apart by colour-blind readers too; grey instead of its yellow,
# which is hard to see on white, and brown for the rigid twin. Ours are solid, FAISS dashed, each with its own marker.
BLACK, ORANGE, SKY, GREEN, GREY, BLUE, VERMILLION, PURPLE, BROWN = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#7A7A7A",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#7B4A12",
)


@dataclass(frozen=True)
class Style:
    """How a curve looks; `marker` in matplotlib's letters."""

    colour: str
    marker: str
    dashed: bool = False


# By the kind of code.
_CODES = {
    "adanns Compact": Style(VERMILLION, "o"),
    "adanns IVFOPQ": Style(BLUE, "s"),
    "adanns IVFOPQ 4-bit": Style(SKY, "^"),
    "adanns OPQ": Style(BLACK, "D"),
    "adanns OPQ 4-bit": Style(GREY, "d"),
    "FAISS IVFOPQ": Style(BLUE, "s", dashed=True),
    "FAISS IVFOPQ 4-bit": Style(SKY, "^", dashed=True),
    "FAISS IVF RaBitQ": Style(PURPLE, "v", dashed=True),
    "FAISS OPQ": Style(BLACK, "D", dashed=True),
    "FAISS OPQ 4-bit": Style(GREY, "d", dashed=True),
    "FAISS IVFOPQ, all dims": Style(GREEN, "X", dashed=True),
    "FAISS OPQ, all dims": Style(GREEN, "P", dashed=True),
    "FAISS IVFOPQ, rigid model": Style(BROWN, "X", dashed=True),
    "FAISS OPQ, rigid model": Style(BROWN, "P", dashed=True),
}

STYLES = {
    "adanns IVF": Style(VERMILLION, "o"),
    "adanns funnel": Style(BLUE, "s"),
    "adanns exact": Style(BLACK, "D"),
    "FAISS IVF 4-bit + refine": Style(PURPLE, "v", dashed=True),
    "FAISS IVF prefix + refine": Style(SKY, "^", dashed=True),
    "FAISS HNSW prefix + refine": Style(GREEN, "P", dashed=True),
    "FAISS IVF, all dims": Style(ORANGE, "X", dashed=True),
    "FAISS flat": Style(GREY, "d", dashed=True),
    "torch exact": Style(GREEN, "X", dashed=True),
    "torch funnel": Style(ORANGE, "P", dashed=True),
    "FAISS GPU flat": Style(GREY, "D", dashed=True),
    "FAISS GPU IVF prefix + torch": Style(SKY, "o", dashed=True),
    "cuVS exact": Style(BLACK, "X", dashed=True),
    "cuVS IVF prefix + torch": Style(PURPLE, "s", dashed=True),
    "cuVS CAGRA prefix + torch": Style(VERMILLION, "v", dashed=True),
    # Of the rigid twin.
    "adanns IVF, rigid model": Style(BROWN, "s"),
    "FAISS IVF, rigid model": Style(BROWN, "X", dashed=True),
    "FAISS flat, rigid model": Style(BROWN, "d", dashed=True),
    # Published: the colour of the method of ours that it is beside.
    "AdANNS-IVF": Style(VERMILLION, "o"),
    "rigid IVF": Style(ORANGE, "X", dashed=True),
    "MRL exact": Style(BLACK, "D"),
    "MRL adaptive": Style(BLUE, "s"),
    "MRL funnel": Style(SKY, "^"),
    "MRL": Style(BLACK, "D"),
    "one model per size": Style(ORANGE, "X", dashed=True),
    "SVD": Style(GREY, "d", dashed=True),
    "rigid model, truncated": Style(BROWN, "s", dashed=True),
    "random features": Style(GREEN, "v", dashed=True),
    # Synthetic ImageNet-1K beside the published figures.
    "synthetic": Style(VERMILLION, "o"),
    "MRL, published": Style(BLACK, "D", dashed=True),
    "synthetic, rotated": Style(BROWN, "s"),
    "random features, published": Style(GREEN, "v", dashed=True),
    "synthetic, 200 ranked by all dims": Style(BLUE, "s"),
    "MRL, 200 ranked by all dims, published": Style(SKY, "^", dashed=True),
    # Adaptive classification.
    "cascade, learnt for each budget": Style(VERMILLION, "o"),
    "cascade, the paper's thresholds": Style(BLUE, "s"),
    "one rung for all rows": Style(BLACK, "D"),
    "majority vote of the rungs": Style(GREEN, "v", dashed=True),
    "oracle": Style(GREY, "^", dashed=True),
    **_CODES,
    **{name + RERANKED: style for name, style in _CODES.items()},
    **{name + CASCADED: style for name, style in _CODES.items() if name.startswith("adanns")},
    "AdANNS-OPQ": Style(BLACK, "D"),
    "AdANNS-IVFOPQ": Style(BLUE, "s"),
    "OPQ-MR-2048": Style(GREEN, "P", dashed=True),
    "IVFOPQ-MR-2048": Style(GREEN, "X", dashed=True),
    "Rigid-OPQ": Style(BROWN, "P", dashed=True),
    "Rigid-IVFOPQ": Style(BROWN, "X", dashed=True),
}
