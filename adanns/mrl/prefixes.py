"""What every loss over prefixes shares: its ladder and weights, and the products of prefixes, band by band."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from adanns.ladder import checked_ladder
from adanns.mrl.workspace import Workspace


def required_ladder(ladder: Iterable[int]) -> tuple[int, ...]:
    """`ladder` as an increasing tuple of positive ints; None is refused, since no vectors say how long they are."""
    rungs = checked_ladder(ladder)
    if rungs is None:
        raise TypeError("ladder is None; give the dims to train for, e.g. adanns.default_ladder(2048)")
    return rungs


def checked_weights(weights: Sequence[float] | None, ladder: Sequence[int]) -> tuple[float, ...]:
    """The c_m of MRL, equation 1: one a rung, finite, not negative, not all zero. None: 1 for every rung."""
    if weights is None:
        return (1.0,) * len(ladder)
    values = tuple(float(weight) for weight in weights)
    if len(values) != len(ladder):
        raise ValueError(f"{len(values)} weights for {len(ladder)} rungs {tuple(ladder)}; expected one a rung")
    if not all(math.isfinite(value) and value >= 0 for value in values) or not any(values):
        raise ValueError(f"weights are {values}; expected finite numbers from 0 on, not all of them 0")
    return values


def check_embeddings(embeddings: Any, dims: int, name: str = "embeddings", axes: int = 2) -> None:
    """Raise unless a tensor of floats with `axes` axes ends in `dims`."""
    if not isinstance(embeddings, torch.Tensor) or not embeddings.is_floating_point():
        kind = embeddings.dtype if isinstance(embeddings, torch.Tensor) else type(embeddings).__name__
        raise TypeError(f"{name} are {kind}; expected a tensor of floats")
    if embeddings.ndim != axes or embeddings.shape[-1] != dims:
        expected = f"(batch, {dims})" if axes == 2 else f"(batch, length, {dims})"
        raise ValueError(f"{name} have shape {tuple(embeddings.shape)}; expected {expected}: the ladder ends at {dims}")


def compute_dtype(tensor: Any) -> Any:
    """The number type of matrix products: autocast's where it is on, but never less than float64 has."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return tensor.dtype


def prefix_products(
    left: Any, right: Any, ladder: Sequence[int], bias: Any = None, workspace: Workspace | None = None
) -> Any:
    """`left[:, :m] @ right[:, :m].T + bias` for every rung m: (rungs, left rows, right rows), differentiable.

    left: (rows, dims); right: (rows, dims); bias: (right rows,) or None. Each rung adds its band to the rung before
    it, so that all of them cost one product over all dims: that is the whole price of MRL-E.
    workspace: whose tensor to write them to; it may be overwritten before the backward pass.
    """
    dtype = compute_dtype(left)
    bias = bias if bias is None else bias.to(dtype)
    return _PrefixProducts.apply(left.to(dtype), right.to(dtype), bias, tuple(ladder), workspace)


def separate_products(
    left: Any,
    rights: Sequence[Any],
    ladder: Sequence[int],
    biases: Sequence[Any],
    workspace: Workspace | None = None,
) -> Any:
    """`left[:, :m] @ rights[i].T + biases[i]` for every rung m: (rungs, left rows, right rows), differentiable.

    left: (rows, dims); rights: (right rows, m) for every rung; biases: (right rows,) for every rung, or none at all.
    workspace: as above.
    """
    dtype = compute_dtype(left)
    parameters = [parameter.to(dtype) for parameter in (*rights, *biases)]
    return _SeparateProducts.apply(left.to(dtype), tuple(ladder), workspace, *parameters)


# Both functions keep a loop over rungs around their matrix products. Bands and rungs differ in width, and a batched
# product would pad each of them to the widest: 9 x 2048 columns instead of 4088 (MRL) or 2048 (MRL-E). What a loop in
# autograd would cost besides, a node, a copy and a sum of gradients per rung, is saved by writing into one stack.


class _PrefixProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, left: Any, right: Any, bias: Any, ladder: tuple[int, ...], workspace: Workspace | None
    ) -> Any:
        ctx.save_for_backward(left, right)
        ctx.ladder = ladder
        products = _empty(ctx, workspace, (len(ladder), len(left), len(right)), left)
        with torch.autocast(left.device.type, enabled=False):
            below = None
            for product, (start, end) in zip(products, _bands(ladder), strict=True):
                band, other = left[:, start:end], right[:, start:end].T
                if below is not None:
                    torch.addmm(below, band, other, out=product)
                elif bias is not None:
                    torch.addmm(bias, band, other, out=product)
                else:
                    torch.mm(band, other, out=product)
                below = product
        return products

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
        left, right = ctx.saved_tensors
        grad_left = torch.empty_like(left) if ctx.needs_input_grad[0] else None
        grad_right = torch.empty_like(right) if ctx.needs_input_grad[1] else None
        # A band is in every rung from its own on: its gradient is the sum of theirs.
        above = torch.zeros_like(grad[0])
        with torch.autocast(left.device.type, enabled=False):
            for rung, (start, end) in reversed(list(enumerate(_bands(ctx.ladder)))):
                above += grad[rung]
                if grad_left is not None:
                    torch.mm(above, right[:, start:end], out=grad_left[:, start:end])
                if grad_right is not None:
                    torch.mm(above.T, left[:, start:end], out=grad_right[:, start:end])
        _give_back(ctx)
        return grad_left, grad_right, above.sum(0) if ctx.needs_input_grad[2] else None, None, None


class _SeparateProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Any, ladder: tuple[int, ...], workspace: Workspace | None, *parameters: Any) -> Any:
        rights, biases = parameters[: len(ladder)], parameters[len(ladder) :]
        ctx.save_for_backward(left, *rights)
        ctx.ladder = ladder
        products = _empty(ctx, workspace, (len(ladder), len(left), len(rights[0])), left)
        with torch.autocast(left.device.type, enabled=False):
            for rung, dims in enumerate(ladder):
                if biases:
                    torch.addmm(biases[rung], left[:, :dims], rights[rung].T, out=products[rung])
                else:
                    torch.mm(left[:, :dims], rights[rung].T, out=products[rung])
        return products

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
        left, *rights = ctx.saved_tensors
        rungs = len(rights)
        grad_left = torch.zeros_like(left) if ctx.needs_input_grad[0] else None
        grad_rights: list[Any] = [None] * rungs
        with torch.autocast(left.device.type, enabled=False):
            for rung, dims in enumerate(ctx.ladder):
                if grad_left is not None:
                    grad_left[:, :dims].addmm_(grad[rung], rights[rung])
                if ctx.needs_input_grad[3 + rung]:
                    grad_rights[rung] = grad[rung].T @ left[:, :dims]
        wanted = ctx.needs_input_grad[3 + rungs :]
        sums: Any = grad.sum(1) if any(wanted) else None
        grad_biases = [sums[rung] if want else None for rung, want in enumerate(wanted)]
        _give_back(ctx)
        return grad_left, None, None, *grad_rights, *grad_biases


def _empty(ctx: Any, workspace: Workspace | None, shape: tuple[int, ...], like: Any) -> Any:
    """An uninitialised tensor to return; one of the workspace stays in `ctx` too, to be given back."""
    ctx.workspace = workspace
    if workspace is None:
        return like.new_empty(shape)
    ctx.products = workspace.take(shape, like)
    return ctx.products.detach()  # the same memory, without the history that the returned tensor gets


def _give_back(ctx: Any) -> None:
    if ctx.workspace is not None:
        ctx.workspace.give_back(ctx.products)


def _bands(ladder: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise((0, *ladder)))
