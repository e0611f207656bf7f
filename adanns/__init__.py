"""adanns: retrieval for Matryoshka embeddings - few dimensions to route and scan, more to rerank.

Conventions: vectors are row-major (rows, dims), float32 or float16; ids are int64; distances are float32 and ascend,
smaller is nearer: l2 is the squared L2 distance, cosine is 1 - cos (at a prefix: of the renormalised prefix), ip is
minus the inner product. Sizes are in rows, not bytes.
"""

from adanns import adaptive_classification, cuda, datasets, evaluate
from adanns.diagnosis import Diagnosis, diagnose
from adanns.errors import (
    CorruptIndexError,
    DuplicateIdError,
    IncompatibleVersionError,
    IndexLockedError,
    NotBuiltError,
    NoTwinError,
    UnknownIdError,
)
from adanns.indexes import (
    CompactIndex,
    ExactIndex,
    FunnelIndex,
    Index,
    IVFIndex,
    IVFOPQIndex,
    OPQIndex,
    load,
)
from adanns.indexes.filters import Filter
from adanns.indexes.health import Health
from adanns.interop import from_faiss, to_faiss
from adanns.ladder import default_ladder
from adanns.results import RangeResult, SearchResult, StageStats
from adanns.training.kmeans import Clusters, train_kmeans

__version__ = "0.1.0"

__all__ = [
    "Clusters",
    "CompactIndex",
    "CorruptIndexError",
    "Diagnosis",
    "DuplicateIdError",
    "ExactIndex",
    "Filter",
    "FunnelIndex",
    "Health",
    "IVFIndex",
    "IVFOPQIndex",
    "IncompatibleVersionError",
    "Index",
    "IndexLockedError",
    "NoTwinError",
    "NotBuiltError",
    "OPQIndex",
    "RangeResult",
    "SearchResult",
    "StageStats",
    "UnknownIdError",
    "adaptive_classification",
    "cuda",
    "datasets",
    "default_ladder",
    "diagnose",
    "evaluate",
    "from_faiss",
    "load",
    "to_faiss",
    "train_kmeans",
]
