"""How are embeddings trained that are compared with each other? Cosines of every prefix, normalised on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from adanns.mrl.cross_entropy import stacked_cross_entropy
from adanns.mrl.prefixes import check_embeddings, checked_weights, prefix_products, required_ladder

SMALLEST_SQUARE = 1e-24  # a prefix shorter than its root, as a zero prefix is, has cosine 0


class MatryoshkaInfoNCE(nn.Module):
    """The contrastive loss at every prefix: each row of one view has to find its own among those of the other.

    The sum over rungs m of c_m times the mean cross-entropy of cos(a[i, :m], b[j, :m]) / temperature over j, where
    j = i is right (MRL, section 3, for two encoders; ALIGN in section 4.1).
    symmetric: the mean of both directions.
    Two views of at least two rows; products are not autocast, since bfloat16 would round a cosine of 1 over a
    temperature of 0.05 to steps of 0.125.
    """

    def __init__(
        self,
        ladder: Iterable[int],
        *,
        temperature: float,
        weights: Sequence[float] | None = None,
        symmetric: bool = True,
    ) -> None:
        super().__init__()
        self.ladder = required_ladder(ladder)
        self.temperature = checked_temperature(temperature)
        self.weights = checked_weights(weights, self.ladder)
        self.symmetric = bool(symmetric)

    def forward(self, embeddings_a: Any, embeddings_b: Any) -> Any:
        """A scalar; two views (batch, dims) of the same rows."""
        check_embeddings(embeddings_a, self.ladder[-1], "embeddings_a")
        check_embeddings(embeddings_b, self.ladder[-1], "embeddings_b")
        if len(embeddings_a) != len(embeddings_b) or len(embeddings_a) < 2:
            raise ValueError(
                f"views have {len(embeddings_a)} and {len(embeddings_b)} rows; expected equally many, at least 2"
            )
        logits = prefix_cosines(embeddings_a, embeddings_b, self.ladder) / self.temperature
        own = torch.arange(len(embeddings_a), device=logits.device)
        loss = stacked_cross_entropy(logits, own, self.weights)
        if self.symmetric:
            loss = (loss + stacked_cross_entropy(logits.transpose(1, 2), own, self.weights)) / 2
        return loss


class MatryoshkaNeighbours(nn.Module):
    """Keep, at every prefix, the neighbours that rows have at full length: no labels needed.

    Within a batch, the softmax over j of cos(t[i], t[j]) / temperature says how near row j is to row i by the vectors
    t to imitate; the loss is the sum over rungs of c_m times the mean cross-entropy of the same softmax of the
    embeddings' prefixes. As stochastic neighbour embedding does, with cosines.
    """

    def __init__(self, ladder: Iterable[int], *, temperature: float, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.ladder = required_ladder(ladder)
        self.temperature = checked_temperature(temperature)
        self.weights = checked_weights(weights, self.ladder)

    def forward(self, embeddings: Any, imitated: Any) -> Any:
        """A scalar; embeddings (batch, dims), and the vectors to imitate (batch, any dims)."""
        check_embeddings(embeddings, self.ladder[-1])
        check_embeddings(imitated, imitated.shape[-1], "imitated vectors")
        if len(embeddings) != len(imitated) or len(embeddings) < 3:
            raise ValueError(
                f"{len(embeddings)} embeddings of {len(imitated)} imitated vectors; expected as many, at least 3"
            )
        itself = torch.eye(len(embeddings), dtype=torch.bool, device=embeddings.device)
        with torch.no_grad():
            (cosines,) = prefix_cosines(imitated, imitated, imitated.shape[-1:]) / self.temperature
            wanted = cosines.masked_fill(itself, -torch.inf).softmax(-1)
        logits = prefix_cosines(embeddings, embeddings, self.ladder) / self.temperature
        logits = logits.masked_fill(itself, torch.finfo(logits.dtype).min)  # finite: 0 times its logarithm has to be 0
        each = -(torch.log_softmax(logits, -1) * wanted).sum(-1).mean(-1)
        return each @ each.new_tensor(self.weights)


def prefix_cosines(left: Any, right: Any, ladder: Sequence[int]) -> Any:
    """Cosines of the prefixes: (rungs, left rows, right rows), from running sums of products and squares."""
    number = torch.float64 if left.dtype == torch.float64 else torch.float32
    left, right = left.to(number), right.to(number)
    with torch.autocast(left.device.type, enabled=False):
        products = prefix_products(left, right, ladder)
        return products * _inverse_norms(left, ladder)[:, :, None] * _inverse_norms(right, ladder)[:, None, :]


def _inverse_norms(vectors: Any, ladder: Sequence[int]) -> Any:
    """1 / |x[:m]| for every rung m: (rungs, rows)."""
    # One small product with a staircase of ones: all rungs without a loop, and a cheap gradient.
    rungs = torch.tensor(ladder, device=vectors.device)
    staircase = (torch.arange(vectors.shape[1], device=vectors.device) < rungs[:, None]).to(vectors.dtype)
    return (staircase @ vectors.square().T).clamp(min=SMALLEST_SQUARE).rsqrt()


def checked_temperature(temperature: float) -> float:
    """A number above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}; expected a number above 0, such as 0.05")
    return float(temperature)
