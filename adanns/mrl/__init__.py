"""Matryoshka representation learning with torch: train embeddings whose prefixes are embeddings too.

After Kusupati et al., "Matryoshka Representation Learning", 2022 (MRL). Needs the extra: pip install 'adanns[mrl]'.
"""

from adanns.mrl.batches import ArrayBatches
from adanns.mrl.checkpoint import CorruptCheckpointError
from adanns.mrl.cross_entropy import MatryoshkaCrossEntropy
from adanns.mrl.embed import embed
from adanns.mrl.head import MatryoshkaHead
from adanns.mrl.loss import MatryoshkaLoss
from adanns.mrl.train import TrainingReport, train

__all__ = [
    "ArrayBatches",
    "CorruptCheckpointError",
    "MatryoshkaCrossEntropy",
    "MatryoshkaHead",
    "MatryoshkaLoss",
    "TrainingReport",
    "embed",
    "train",
]
