"""Pictures as inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luthier.errors import ArgumentError
from luthier.graph import Value
from luthier.graph.ir import Dim

__all__ = ["channel_axis", "load_picture"]

_MODES = {1: "L", 3: "RGB"}


def channel_axis(dims: Sequence[Dim]) -> int | None:
    """Where an input that takes pictures has its channels, None if it takes none."""
    return next((i for i in (1, 3) if len(dims) == 4 and dims[i] in _MODES), None)


def load_picture(path: Path, value: Value, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A picture in the form of the input `value`.

    Parameters
    ----------
    path : Path
    value : Value
        4-d, with 1 or 3 channels at position 1 (NCHW) or 3 (NHWC).
    shape : tuple of int, optional
        Its concrete shape, where the model leaves height and width open; otherwise an open size
        is the picture's.

    Returns
    -------
    numpy.ndarray
        Batch of one. Floating-point inputs get 0 to 1, uint8 inputs 0 to 255.

    Raises
    ------
    ArgumentError
        Pillow is missing, the file is no picture, or the input does not take pictures.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ArgumentError(f"{path}: reading pictures needs Pillow: pip install pillow") from None
    dims = shape or value.shape or ()
    axis = channel_axis(dims)
    if axis is None or value.dtype is None or value.dtype.kind not in "fu":
        raise ArgumentError(f"input {value.name!r} of shape {list(dims)} does not take pictures")
    try:
        with Image.open(path) as file:
            picture = file.convert(_MODES[int(dims[axis] or 0)])
    except Image.DecompressionBombError:
        raise ArgumentError(f"{path}: too large a picture") from None
    except OSError as error:
        raise ArgumentError(f"{path}: {error.strerror or 'not a picture'}") from None
    height, width = (dims[2], dims[3]) if axis == 1 else (dims[1], dims[2])
    size = tuple(
        want if isinstance(want, int) else have
        for want, have in zip((width, height), picture.size, strict=True)
    )
    pixels = np.asarray(picture.resize(size)).reshape(size[1], size[0], -1)
    if axis == 1:
        pixels = pixels.transpose(2, 0, 1)
    scale = 255 if value.dtype.kind == "f" else 1
    return np.ascontiguousarray(pixels[None] / scale, value.dtype)
