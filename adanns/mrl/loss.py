"""How is any loss made Matryoshka? By summing it over prefixes: the plain form that every fast one is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from adanns.mrl.prefixes import checked_weights, required_ladder


class MatryoshkaLoss(nn.Module):
    """The sum over rungs m of c_m * loss(embeddings[..., :m], *targets) (MRL, equation 1).

    loss: a callable that takes prefixes of any width and gives a scalar tensor; a module's parameters are trained too.
    A loss of two embeddings takes them stacked: (2, batch, dims).
    ladder, weights: the prefix lengths and their c_m; None gives 1 to each.
    It calls `loss` once a rung. MatryoshkaCrossEntropy, MatryoshkaInfoNCE and MatryoshkaMaskedToken do the same
    for their losses in one go.
    """

    def __init__(
        self, loss: Callable[..., Any], ladder: Iterable[int], *, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if not callable(loss):
            raise TypeError(f"loss is a {type(loss).__name__}; expected a callable loss(prefixes, *targets)")
        self.loss = loss
        self.ladder = required_ladder(ladder)
        self.weights = checked_weights(weights, self.ladder)

    def forward(self, embeddings: Any, *targets: Any) -> Any:
        """A scalar tensor; embeddings: (..., dims)."""
        if embeddings.shape[-1] != self.ladder[-1]:
            raise ValueError(f"embeddings have {embeddings.shape[-1]} dimensions; the ladder ends at {self.ladder[-1]}")
        losses = [
            weight * self.loss(embeddings[..., :dims], *targets)
            for dims, weight in zip(self.ladder, self.weights, strict=True)
        ]
        return sum(losses[1:], losses[0])
