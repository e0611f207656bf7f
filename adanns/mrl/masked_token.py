"""How is a masked token predicted at every prefix? By one decoder over the vocabulary, cut to the prefix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from adanns.mrl.cross_entropy import MatryoshkaCrossEntropy
from adanns.mrl.head import MatryoshkaHead
from adanns.mrl.prefixes import check_embeddings


class MatryoshkaMaskedToken(nn.Module):
    """Masked language modelling at every prefix of the hidden states (MRL, section 4.1: BERT), tied as MRL-E is.

    ladder: of the hidden states' dims; vocabulary: how many tokens there are.
    embedding: the model's token embedding (vocabulary, dims) to decode with, as BERT does; None: a weight of its own.
    bias: one a token, for all rungs. weights, label_smoothing: as in MatryoshkaCrossEntropy.
    ignore_index: the target of positions that are not masked. Only the others are computed; their logits at all rungs
        are in memory at once: rungs x masked positions x vocabulary.
    """

    def __init__(
        self,
        ladder: Iterable[int],
        vocabulary: int,
        *,
        embedding: Any = None,
        bias: bool = True,
        weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        head = MatryoshkaHead(ladder, vocabulary, tied=True, bias=bias)
        if embedding is not None:
            expected = (head.classes, head.ladder[-1])
            if not isinstance(embedding, nn.Parameter) or tuple(embedding.shape) != expected:
                raise ValueError(f"embedding is not a parameter of shape {expected}; pass e.g. model.embedding.weight")
            head.weights[0] = embedding
        self.loss = MatryoshkaCrossEntropy(
            head, weights=weights, label_smoothing=label_smoothing, ignore_index=ignore_index
        )

    def forward(self, hidden: Any, targets: Any) -> Any:
        """A scalar; hidden: floats (batch, length, dims); targets: int64 (batch, length), token ids or ignore_index."""
        check_embeddings(hidden, self.loss.head.ladder[-1], "hidden states", axes=3)
        if tuple(targets.shape) != tuple(hidden.shape[:2]):
            raise ValueError(f"targets have shape {tuple(targets.shape)}; expected {tuple(hidden.shape[:2])}")
        masked = targets != self.loss.ignore_index
        return self.loss(hidden[masked], targets[masked])
