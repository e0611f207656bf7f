"""A small convolutional network: what it looks like, and how it sees images and their distorted copies."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class ImageNetwork(nn.Module):
    """uint8 (batch, 32, 32), ink 255 on 0, or float32 in 0 .. 1, to embeddings float32 (batch, dims).

    width: channels of the first of four strided convolutions, which double them; residual blocks lie between.
    half: compute convolutions in bfloat16 when embedding, as mixed precision does in training. The last layer is then
    computed in float32, since 8 bits of mantissa would put equal numbers into many short prefixes.
    """

    def __init__(self, width: int, dims: int, *, half: bool = False) -> None:
        super().__init__()
        self.half_precision = half
        self.features = nn.Sequential(
            *_convolution(1, width, 2),
            *_convolution(width, 2 * width, 2),
            _Residual(2 * width),
            *_convolution(2 * width, 4 * width, 2),
            _Residual(4 * width),
            *_convolution(4 * width, 8 * width, 2),
            nn.Flatten(),
        )
        self.projection = nn.Linear(8 * width * 4, dims)
        self.scale = nn.BatchNorm1d(dims)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Any) -> Any:
        """Embeddings, not normalised."""
        ink = images.float() / 255.0 if images.dtype == torch.uint8 else images
        ink = ink[:, None].contiguous(memory_format=torch.channels_last)
        if self.training:
            return self.scale(self.projection(self.features(ink)).float())
        with torch.autocast(ink.device.type, dtype=torch.bfloat16, enabled=self.half_precision):
            features = self.features(ink)
        return self.scale(self.projection(features.float()))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))

    def forward(self, values: Any) -> Any:
        return values + self.block(values)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[Any]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def distorted(images: Any, generator: Any = None) -> Any:
    """Random affine copies of uint8 images, float32 in 0 .. 1: up to 10 degrees of turn, 15% of scale, 10% of shift."""
    count = len(images)
    angle, wider, higher, right, down = torch.rand(5, count, generator=generator) - 0.5
    angle = angle * 0.35
    scale_x = 1.0 + wider * 0.3
    scale_y = scale_x * (1.0 + higher * 0.15)
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0] = angle.cos() * scale_x
    transform[:, 0, 1] = -angle.sin()
    transform[:, 1, 0] = angle.sin()
    transform[:, 1, 1] = angle.cos() * scale_y
    transform[:, :, 2] = torch.stack([right, down], 1) * 0.2
    ink = images.float()[:, None] / 255.0
    grid = functional.affine_grid(transform, ink.shape, align_corners=False)
    return functional.grid_sample(ink, grid, align_corners=False)[:, 0]
