"""How wrong are the classes predicted at every prefix? One cross-entropy over the stacked logits of all rungs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from adanns.mrl.head import MatryoshkaHead
from adanns.mrl.prefixes import checked_weights
from adanns.mrl.workspace import Workspace


class MatryoshkaCrossEntropy(nn.Module):
    """MRL's supervised loss, equation 1: the sum over rungs m of c_m times the mean cross-entropy at m dims.

    head: the classifiers; trained with the loss, whose parameters they are.
    weights: the c_m, one a rung; None gives 1 to each, as the paper does.
    label_smoothing: in [0, 1): the share of the target spread evenly over all classes.
    ignore_index: rows of this target count for nothing.
    Equals the loop over rungs of torch's cross_entropy; a batch without a row that counts gives 0, where torch's
    gives NaN.
    """

    def __init__(
        self,
        head: MatryoshkaHead,
        *,
        weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        if not isinstance(head, MatryoshkaHead):
            raise TypeError(f"head is a {type(head).__name__}; expected a MatryoshkaHead")
        self.head = head
        self.weights = checked_weights(weights, head.ladder)
        self.label_smoothing = checked_smoothing(label_smoothing)
        self.ignore_index = int(ignore_index)
        self._workspace = Workspace()

    def forward(self, embeddings: Any, targets: Any) -> Any:
        """A scalar; embeddings: floats (batch, dims); targets: int64 (batch,), 0 ... classes - 1 or ignore_index."""
        check_targets(targets, (len(embeddings),), self.head.classes, self.ignore_index)
        logits = self.head(embeddings, self._workspace)
        return stacked_cross_entropy(
            logits, targets, self.weights, self.label_smoothing, self.ignore_index, overwrite=True
        )


def checked_smoothing(label_smoothing: float) -> float:
    """A share in [0, 1)."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing}; expected a share from 0 on, below 1")
    return float(label_smoothing)


def check_targets(targets: Any, shape: tuple[int, ...], classes: int, ignore_index: int) -> None:
    """Raise unless targets are int64 of the shape; on a CPU also unless they are classes (a GPU would have to wait)."""
    if not isinstance(targets, torch.Tensor) or targets.dtype != torch.int64:
        kind = targets.dtype if isinstance(targets, torch.Tensor) else type(targets).__name__
        raise TypeError(f"targets are {kind}; expected a tensor of int64")
    if tuple(targets.shape) != shape:
        raise ValueError(f"targets have shape {tuple(targets.shape)}; expected {shape}, one for each embedding")
    if targets.device.type == "cpu":
        wrong = ((targets < 0) | (targets >= classes)) & (targets != ignore_index)
        if wrong.any():
            row = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(
                f"target {int(targets[row])} at row {', '.join(map(str, row))}; expected 0 ... {classes - 1}, "
                f"or {ignore_index} for rows to ignore"
            )


def stacked_cross_entropy(
    logits: Any,
    targets: Any,
    weights: Sequence[float],
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    *,
    overwrite: bool = False,
) -> Any:
    """The sum over rungs of c_m times the mean cross-entropy. logits: (rungs, rows, classes); targets: (rows,).

    overwrite: the logits' memory may be used; for logits that nothing else needs, its backward pass included.
    """
    return _StackedCrossEntropy.apply(logits, targets, tuple(weights), label_smoothing, ignore_index, overwrite)


class _StackedCrossEntropy(torch.autograd.Function):
    """Loss and gradient, softmax minus target, in five passes over one array of the logits' size.

    Logits are the bulk of what MRL adds to a step (18 MB at 9 rungs, 512 rows, 1,000 classes), and each pass over them
    costs as much as a small matrix product; autograd would take a dozen passes and three such arrays.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Any,
        targets: Any,
        weights: tuple[float, ...],
        label_smoothing: float,
        ignore_index: int,
        overwrite: bool,
    ) -> Any:
        rungs, _, classes = logits.shape
        number = torch.float64 if logits.dtype == torch.float64 else torch.float32
        ctx.dtype = logits.dtype
        logits = logits.detach().to(number)
        counted = targets != ignore_index
        rows = counted.sum().clamp(min=1)
        # What a row weighs in each rung: (rungs, rows, 1).
        rung_weights = torch.tensor(weights, dtype=number, device=logits.device)
        share = rung_weights[:, None, None] * (counted.to(number) / rows)[:, None]
        index = targets.where(counted, 0).view(1, -1, 1).expand(rungs, -1, 1)

        largest = logits.amax(-1, keepdim=True)
        shifted = logits.sub_(largest) if overwrite else logits - largest
        target_logits = (1 - label_smoothing) * shifted.gather(-1, index)
        if label_smoothing:
            target_logits += label_smoothing * shifted.mean(-1, keepdim=True)
        exponentials = shifted.exp_()
        sums = exponentials.sum(-1, keepdim=True)
        loss = ((sums.log() - target_logits) * share).sum()

        gradient = exponentials.mul_(share / sums)
        if label_smoothing:
            gradient -= share * (label_smoothing / classes)
        gradient.scatter_add_(-1, index, share * (label_smoothing - 1))
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
        (gradient,) = ctx.saved_tensors
        # On a CPU it costs nothing to see that there is nothing to scale, and 18 MB to scale.
        if grad.device.type != "cpu" or grad.item() != 1:
            gradient = gradient * grad
        return gradient.to(ctx.dtype), None, None, None, None, None
