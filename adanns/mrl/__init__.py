"""Matryoshka representation learning with torch: train embeddings whose prefixes are embeddings too.

After Kusupati et al., "Matryoshka Representation Learning", 2022 (MRL). Needs the extra: pip install 'adanns[mrl]'.
"""

from adanns.mrl.batches import ArrayBatches
from adanns.mrl.checkpoint import CorruptCheckpointError
from adanns.mrl.cross_entropy import MatryoshkaCrossEntropy
from adanns.mrl.embed import embed
from adanns.mrl.head import MatryoshkaHead
from adanns.mrl.loss import MatryoshkaLoss
from adanns.mrl.masked_token import MatryoshkaMaskedToken
from adanns.mrl.retrofit import Retrofitted, retrofit
from adanns.mrl.similarity import MatryoshkaInfoNCE, MatryoshkaNeighbours
from adanns.mrl.train import TrainingReport, train

__all__ = [
    "ArrayBatches",
    "CorruptCheckpointError",
    "MatryoshkaCrossEntropy",
    "MatryoshkaHead",
    "MatryoshkaInfoNCE",
    "MatryoshkaLoss",
    "MatryoshkaMaskedToken",
    "MatryoshkaNeighbours",
    "Retrofitted",
    "TrainingReport",
    "embed",
    "retrofit",
    "train",
]
