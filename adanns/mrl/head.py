"""How is a class predicted at every prefix? The linear classifiers of MRL, one a rung, and of MRL-E, one for all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from adanns.arrays import checked_count
from adanns.mrl.prefixes import check_embeddings, prefix_products, required_ladder, separate_products
from adanns.mrl.workspace import Workspace


class MatryoshkaHead(nn.Module):
    """Logits of every prefix (MRL, section 3): embeddings (batch, dims) -> (rungs, batch, classes).

    ladder: the prefix lengths to train for, increasing; the last one is the width of the embeddings.
    tied: MRL-E, whose one weight (classes, dims) is cut to the prefix; else every rung has a weight (classes, m).
    bias: of each rung; one for all rungs when tied.
    A rigid classifier is a head with one rung: MatryoshkaHead((2048,), classes).
    """

    def __init__(self, ladder: Iterable[int], classes: int, *, tied: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.ladder = required_ladder(ladder)
        self.classes = checked_count(classes, "classes")
        self.tied = tied
        widths = self.ladder[-1:] if tied else self.ladder
        self.weights = nn.ParameterList(_uniform((self.classes, width), width) for width in widths)
        self.biases = nn.ParameterList(_uniform((self.classes,), width) for width in (widths if bias else ()))

    def forward(self, embeddings: Any, workspace: Workspace | None = None) -> Any:
        """Logits (rungs, batch, classes) of embeddings (batch, dims); in a tensor of the workspace, if there is one."""
        check_embeddings(embeddings, self.ladder[-1])
        if self.tied:
            bias = self.biases[0] if len(self.biases) else None
            return prefix_products(embeddings, self.weights[0], self.ladder, bias, workspace)
        return separate_products(embeddings, list(self.weights), self.ladder, list(self.biases), workspace)

    def export(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays, the same for both forms; np.savez(path, **head.export()) writes what numpy alone can use.

        "ladder": int64 (rungs,); for every rung m "weight_<m>": float32 (classes, m) and "bias_<m>": float32
        (classes,), zeros where the head has no bias.
        """
        arrays: dict[str, npt.NDArray[Any]] = {"ladder": np.array(self.ladder, dtype=np.int64)}
        for rung, dims in enumerate(self.ladder):
            which = 0 if self.tied else rung
            weight = _to_numpy(self.weights[which])[:, :dims]
            arrays[f"weight_{dims}"] = np.ascontiguousarray(weight)
            bias = _to_numpy(self.biases[which]) if len(self.biases) else np.zeros(self.classes, np.float32)
            arrays[f"bias_{dims}"] = bias
        return arrays

    def extra_repr(self) -> str:
        """What print shows."""
        return f"ladder={self.ladder}, classes={self.classes}, tied={self.tied}, bias={len(self.biases) > 0}"


def _uniform(shape: tuple[int, ...], inputs: int) -> Any:
    """The start of torch.nn.Linear: uniform within 1 / sqrt(inputs)."""
    bound = 1 / math.sqrt(inputs)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _to_numpy(tensor: Any) -> npt.NDArray[Any]:
    return np.array(tensor.detach().float().cpu().numpy())
