"""Where do logits lie from step to step? In the same memory: fresh pages cost a CPU more than all passes over them."""

from __future__ import annotations

from typing import Any


class Workspace:
    """One tensor that is taken for a forward pass and given back after the backward pass.

    While it is out, others get tensors of their own. A backward pass through what it has overwritten since, as
    retain_graph allows, is refused by torch, which counts the writes to a tensor that it keeps.
    """

    def __init__(self) -> None:
        self._spare: list[Any] = []

    def take(self, shape: tuple[int, ...], like: Any) -> Any:
        """An uninitialised tensor of the dtype and device of `like`."""
        try:
            spare = self._spare.pop()  # in one go: other threads may be taking it
        except IndexError:
            return like.new_empty(shape)
        fits = (tuple(spare.shape), spare.dtype, spare.device) == (shape, like.dtype, like.device)
        return spare if fits else like.new_empty(shape)

    def give_back(self, tensor: Any) -> None:
        """Let the next pass have it. GPU memory is torch's to use again."""
        if not self._spare and tensor.device.type == "cpu":
            self._spare.append(tensor)

    def __reduce__(self) -> tuple[Any, ...]:
        return Workspace, ()  # copies and files are of the module, not of its scratch memory
