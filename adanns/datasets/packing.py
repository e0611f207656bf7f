"""How do 55,000 x 512 embeddings fit into a few megabytes?

Band by band, each number is predicted linearly from the bands before it (the later dims of a Matryoshka embedding
mostly refine the earlier ones), the rest is rounded to a multiple of the band's step, and the small integers that
remain are Huffman-coded by zlib, one dimension after another. The rounding is dithered: a fixed pseudo-random offset
is added before it and taken away after it, so that the error is uniform, step / sqrt(12) in the mean square, and the
unpacked numbers do not lie on a grid, which would flatter quantised indices.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]


def pack(vectors: Float32s, bands: Sequence[int], steps: Sequence[float]) -> dict[str, npt.NDArray[Any]]:
    """Arrays from which `unpack` restores `vectors` up to half a step.

    bands: where each band ends, increasing, the last one at all dims; steps: one for each band.
    """
    rows = len(vectors)
    restored = np.empty((rows, 0), np.float32)
    predictors, codes = [], []
    for (start, stop), step in zip(pairwise((0, *bands)), np.asarray(steps, np.float32), strict=True):
        band = vectors[:, start:stop]
        known = _with_constant(restored)
        # Least squares by the normal equations: the rounding's noise keeps them well conditioned.
        gram = (known.T @ known).astype(np.float64)
        predictor = np.linalg.solve(gram, known.T @ band).astype(np.float16)
        predicted = known @ predictor.astype(np.float32)
        dither = _dither(rows, start, stop)
        code = np.rint((band - predicted).T / step + dither)
        if np.abs(code).max() > np.iinfo(np.int8).max:
            raise ValueError(f"step {step:g} is too small: band [{start}, {stop}) does not fit into 8 bits")
        predictors.append(predictor.ravel())
        codes.append(code.astype(np.int8))
        restored = np.hstack([restored, predicted + ((code - dither) * step).T])
    huffman = zlib.compressobj(level=9, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    stream = huffman.compress(np.concatenate(codes).tobytes()) + huffman.flush()
    return {
        "bands": np.array(bands, np.int64),
        "rows": np.array(rows, np.int64),
        "steps": np.array(steps, np.float32),
        "predictors": np.concatenate(predictors),
        "codes": np.frombuffer(stream, np.uint8),
    }


def unpack(packed: Mapping[str, npt.NDArray[Any]]) -> Float32s:
    """The vectors that were packed, float32 (rows, dims), alike on all machines up to a matrix product's rounding."""
    bands, rows = packed["bands"].tolist(), int(packed["rows"])
    codes = np.frombuffer(zlib.decompress(packed["codes"].tobytes()), np.int8).reshape(bands[-1], rows)
    vectors = np.empty((rows, bands[-1]), np.float32)
    used = 0
    for (start, stop), step in zip(pairwise((0, *bands)), packed["steps"], strict=True):
        size = (start + 1) * (stop - start)
        predictor = packed["predictors"][used : used + size].reshape(start + 1, stop - start).astype(np.float32)
        used += size
        rounded = (codes[start:stop] - _dither(rows, start, stop)) * step
        vectors[:, start:stop] = vectors[:, :start] @ predictor[1:] + predictor[0] + rounded.T
    return vectors


def _with_constant(vectors: Float32s) -> Float32s:
    return np.hstack([np.ones((len(vectors), 1), np.float32), vectors])


def _dither(rows: int, start: int, stop: int) -> Float32s:
    """Offsets in [-0.5, 0.5), (stop - start, rows). Raw bits, since numpy keeps those alike in all versions."""
    count = rows * (stop - start)
    words = np.random.PCG64(start).random_raw(-(-count // 8)).astype("<u8")
    offsets = words.view(np.uint8)[:count].astype(np.float32)
    return np.asarray((offsets + np.float32(0.5)) / np.float32(256) - np.float32(0.5)).reshape(stop - start, rows)
