"""How does a pretrained embedding become Matryoshka? A linear map behind it, started at its principal axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from adanns.arrays import checked_count
from adanns.mrl.modes import evaluation_mode


class Retrofitted(nn.Module):
    """A backbone and a linear map of its embeddings; made by `retrofit`.

    backbone: gives (batch, features). frozen: it stays in evaluation mode and gets no gradients.
    adapter: torch.nn.Linear(features, dims) without a bias, since cosines and prefixes are about the origin.
    """

    def __init__(self, backbone: Any, adapter: Any, frozen: bool) -> None:
        super().__init__()
        self.backbone, self.adapter, self.frozen = backbone, adapter, frozen

    def forward(self, inputs: Any) -> Any:
        """Embeddings (batch, dims)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.backbone(inputs)
        return self.adapter(features)

    def train(self, mode: bool = True) -> Any:
        """Training mode, but for a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


def retrofit(backbone: Any, sample: Any, *, dims: int | None = None, frozen: bool = True) -> Retrofitted:
    """`backbone` with a linear map behind it, to be trained with a Matryoshka loss.

    backbone: a module that gives embeddings (batch, features); torch.nn.Identity() where inputs are embeddings already.
    sample: a tensor of inputs on the backbone's device, a few times as many rows as there are features. The map starts
        as the rotation to their principal axes, the largest first: at full length all dot products stay as they were,
        and prefixes are the best that a linear map can do for those. Training goes on from there.
    dims: of the new embeddings; fewer than there are features drops the smallest axes. None: as many.
    frozen: train the map alone.

    Without labels train with MatryoshkaNeighbours, targets being the embeddings to imitate; with labels, with
    MatryoshkaCrossEntropy.
    """
    with evaluation_mode(backbone), torch.no_grad():
        features = backbone(sample)
    if features.ndim != 2:
        raise ValueError(f"backbone gives shape {tuple(features.shape)}; expected (rows, features)")
    rows, width = features.shape
    wanted = width if dims is None else checked_count(dims, "dims")
    if wanted > width:
        raise ValueError(f"dims={wanted} is more than the {width} features of the backbone")
    if not torch.isfinite(features).all():
        raise ValueError("the backbone's features of the sample hold NaN or infinity")
    features = features.double()
    _, axes = torch.linalg.eigh(features.T @ features / rows)  # the largest last
    adapter = nn.Linear(width, wanted, bias=False).to(axes.device)
    with torch.no_grad():
        adapter.weight.copy_(axes.T.flip(0)[:wanted])
    return Retrofitted(backbone, adapter, frozen)
