"""The oracle: every operator in plain NumPy, written for clearness, computed in float64.

Kernels are right when they agree with these functions.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["activation", "conv2d", "depthwise_conv2d", "gemm"]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def activation(x: np.ndarray, name: str, params: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """The activation `name` of ``luthier.kernels.workload.ACTIVATIONS``, elementwise."""
    alpha, beta = params
    with np.errstate(over="ignore", invalid="ignore"):
        match name:
            case "none":
                return x
            case "relu":
                return np.maximum(x, 0)
            case "clip":
                return np.minimum(np.maximum(x, alpha), beta)
            case "hard_sigmoid":
                return np.minimum(np.maximum(alpha * x + beta, 0), 1)
            case "hard_swish":
                return x * np.minimum(np.maximum(x / 6 + 0.5, 0), 1)
            case "sigmoid":
                return 1 / (1 + np.exp(-x))
            case "silu":
                return x / (1 + np.exp(-x))
            case "tanh":
                return np.tanh(x)
            case "gelu":
                return 0.5 * x * (1 + _erf(x / math.sqrt(2)))
            case "leaky_relu":
                return np.where(x < 0, alpha * x, x)
    raise ValueError(name)


def gemm(
    a: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    act: str = "none",
    params: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """``act(a @ w + bias + residual)`` in float64; a (..., m, k), w (..., k, n)."""
    y = a.astype(np.float64) @ w.astype(np.float64)
    if bias is not None:
        y = y + bias
    if residual is not None:
        y = y + residual
    return activation(y, act, params)


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    groups: int = 1,
    act: str = "none",
    params: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """NHWC convolution in float64; x (n, h, w, c), w (oc, c / groups, kh, kw), pads top, left, bottom, right."""
    (top, left, bottom, right), (sh, sw), (dh, dw) = pads, strides, dilations
    oc, icg, kh, kw = w.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    oh = (x.shape[1] - (kh - 1) * dh - 1) // sh + 1
    ow = (x.shape[2] - (kw - 1) * dw - 1) // sw + 1
    x = x.reshape(*x.shape[:3], groups, icg)
    taps = w.astype(np.float64).reshape(groups, oc // groups, icg, kh, kw)
    y = np.zeros((x.shape[0], oh, ow, groups, oc // groups))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            cols = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
            for g in range(groups):
                y[..., g, :] += x[:, rows, cols, g] @ taps[g, :, :, i, j].T
    y = y.reshape(*y.shape[:3], oc)
    if bias is not None:
        y = y + bias
    if residual is not None:
        y = y + residual
    return activation(y, act, params)


def depthwise_conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    act: str = "none",
    params: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """NHWC depthwise convolution in float64; x (n, h, w, c), w (c, 1, kh, kw)."""
    (top, left, bottom, right), (sh, sw), (dh, dw) = pads, strides, dilations
    _, _, kh, kw = w.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    oh = (x.shape[1] - (kh - 1) * dh - 1) // sh + 1
    ow = (x.shape[2] - (kw - 1) * dw - 1) // sw + 1
    y = np.zeros((x.shape[0], oh, ow, x.shape[3]))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            cols = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
            y += x[:, rows, cols] * w[:, 0, i, j].astype(np.float64)
    if bias is not None:
        y = y + bias
    if residual is not None:
        y = y + residual
    return activation(y, act, params)
