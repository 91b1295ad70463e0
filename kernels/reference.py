"""The oracle: every operator in plain NumPy, written for clearness, computed in float64.

Kernels are right when they agree with these functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = [
    "activation",
    "binary",
    "cast",
    "conv2d",
    "depthwise_conv2d",
    "gemm",
    "gemm_nbits",
    "layer_norm",
    "lstm",
    "pool2d",
    "reduce",
    "resize_linear",
    "softmax",
    "take",
    "unary",
]

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
    """NHWC convolution in float64; x (n, h, w, c), w (oc, c / groups, kh, kw)."""
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


_UNARY: dict[str, Any] = {
    "identity": lambda x: x,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "exp": np.exp,
    "log": np.log,
    "erf": _erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "softplus": lambda x: np.logaddexp(x, 0),
    "sin": np.sin,
    "cos": np.cos,
}

_BINARY: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
    "sqdiff": lambda a, b: (a - b) ** 2,
    "equal": np.equal,
    "less": np.less,
    "greater": np.greater,
}

_REDUCE = {
    "sum": lambda x, axes: x.sum(axes),
    "mean": lambda x, axes: x.sum(axes) / np.float64(math.prod(x.shape[a] for a in axes)),
    "max": lambda x, axes: x.max(axes, initial=-np.inf),
    "min": lambda x, axes: x.min(axes, initial=np.inf),
    "prod": lambda x, axes: x.prod(axes),
    "l1": lambda x, axes: np.abs(x).sum(axes),
    "l2": lambda x, axes: np.sqrt((x * x).sum(axes)),
    "sum_square": lambda x, axes: (x * x).sum(axes),
}


def unary(op: str, x: np.ndarray) -> np.ndarray:
    """``op(x)`` in float64; `op` as in ``luthier.kernels.unary``."""
    with np.errstate(all="ignore"):
        return _UNARY[op](x.astype(np.float64))


def binary(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``op(a, b)`` in float64, or bool; `op` as in ``luthier.kernels.binary``."""
    with np.errstate(all="ignore"):
        return _BINARY[op](a.astype(np.float64), b.astype(np.float64))


def reduce(op: str, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """`x` reduced over `axes` in float64; `op` as in ``luthier.kernels.reduce``."""
    with np.errstate(all="ignore"):
        return _REDUCE[op](x.astype(np.float64), axes)


def softmax(x: np.ndarray, axis: int, log: bool = False) -> np.ndarray:
    """Softmax along `axis` in float64, or its logarithm."""
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        x = x - x.max(axis, keepdims=True)
        total = np.exp(x).sum(axis, keepdims=True)
        return x - np.log(total) if log else np.exp(x) / total


def layer_norm(
    x: np.ndarray, scale: np.ndarray | None, bias: np.ndarray | None, axis: int, epsilon: float
) -> np.ndarray:
    """Normalisation over the axes from `axis` on, in float64."""
    x = x.astype(np.float64)
    axes = tuple(range(axis % x.ndim, x.ndim))
    x = x - x.mean(axes, keepdims=True)
    y = x / np.sqrt((x * x).mean(axes, keepdims=True) + epsilon)
    if scale is not None:
        y = y * scale
    return y if bias is None else y + bias


def lrn(
    x: np.ndarray, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> np.ndarray:
    """Local response normalisation over the last axis, in float64."""
    x = x.astype(np.float64)
    count = x.shape[-1]
    total = np.zeros_like(x)
    for c in range(count):
        near = x[..., max(0, c - (size - 1) // 2) : min(count, c + size // 2 + 1)]
        total[..., c] = (near * near).sum(-1)
    return x / (bias + alpha / size * total) ** beta


def pool2d(
    x: np.ndarray,
    kernel: tuple[int, int],
    out_size: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    mode: str = "max",
) -> np.ndarray:
    """NHWC pooling in float64, window by window; mode ``max``, ``average`` or ``average_padded``.

    Windows may reach beyond the padding (ONNX's ceil_mode); what lies there never counts.
    """
    (top, left, bottom, right), (oh, ow) = pads, out_size
    n, ih, iw, c = x.shape
    y = np.empty((n, oh, ow, c))
    for oy in range(oh):
        rows = [oy * strides[0] - top + k * dilations[0] for k in range(kernel[0])]
        counted_rows = sum(r < ih + bottom for r in rows)
        rows = [r for r in rows if 0 <= r < ih]
        for ox in range(ow):
            cols = [ox * strides[1] - left + k * dilations[1] for k in range(kernel[1])]
            counted_cols = sum(c < iw + right for c in cols)
            cols = [c for c in cols if 0 <= c < iw]
            taps = x[:, rows][:, :, cols].astype(np.float64)
            if mode == "max":
                y[:, oy, ox] = taps.max((1, 2), initial=-np.inf)
                continue
            count = len(rows) * len(cols)
            if mode == "average_padded":
                count = counted_rows * counted_cols
            y[:, oy, ox] = taps.sum((1, 2)) / max(1, count)
    return y


def take(x: np.ndarray, index: np.ndarray, axis: int, fill: float) -> np.ndarray:
    """Slices of `x` along `axis`; a negative index stands for `fill`."""
    shape = [1] * x.ndim
    shape[axis] = -1
    safe = np.maximum(index, 0).astype(np.intp)
    if x.shape[axis] == 0:
        return np.full((*x.shape[:axis], index.size, *x.shape[axis + 1 :]), fill, x.dtype)
    return np.where((index < 0).reshape(shape), np.asarray(fill, x.dtype), x.take(safe, axis))


def resize_linear(x: np.ndarray, size: tuple[int, int], coordinates: str) -> np.ndarray:
    """NHWC bilinear resizing in float64, with a matrix of weights for each axis."""
    _, ih, iw, _ = x.shape
    rows = _resize_matrix(ih, size[0], coordinates)
    cols = _resize_matrix(iw, size[1], coordinates)
    return np.einsum("yh,nhwc,xw->nyxc", rows, x.astype(np.float64), cols)


def _resize_matrix(source: int, target: int, coordinates: str) -> np.ndarray:
    matrix = np.zeros((target, source))
    for i in range(target):
        place = {
            "half_pixel": (i + 0.5) * source / target - 0.5,
            "asymmetric": i * source / target,
            "align_corners": i * (source - 1) / max(1, target - 1),
        }[coordinates]
        place = min(max(place, 0), source - 1)
        low = math.floor(place)
        matrix[i, low] += 1 - (place - low)
        matrix[i, min(low + 1, source - 1)] += place - low
    return matrix


def cast(x: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    """`x` converted one by one by Python's unbounded integers; see ``luthier.kernels.cast``."""
    dtype = np.dtype(dtype)
    if x.dtype.kind != "f" or dtype.kind not in "iu":
        with np.errstate(all="ignore"):
            return x.astype(dtype)
    bits = 64 if dtype.itemsize == 8 else 32
    least = -(2 ** (bits - 1))
    flat = []
    for value in x.ravel().tolist():
        whole = int(value) if math.isfinite(value) else least
        flat.append(whole if least <= whole < -least else least)
    return np.array(flat, np.int64).astype(dtype).reshape(x.shape)


def gemm_nbits(
    a: np.ndarray,
    q: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    block: int,
) -> np.ndarray:
    """Product with weights of a few bits in float64; see ``luthier.kernels.gemm_nbits``."""
    k = q.shape[1]
    zeros = np.full(scale.shape, 8.0) if zero is None else np.asarray(zero, np.float64)
    scales, zeros = (np.repeat(v, block, 1)[:, :k] for v in (scale.astype(np.float64), zeros))
    y = a.astype(np.float64) @ ((q - zeros) * scales).T
    return y if bias is None else y + bias


def lstm(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    bias: np.ndarray | None,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    reverse: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One direction of an LSTM in float64; see ``luthier.kernels.lstm``."""
    x, w, r = (v.astype(np.float64) for v in (x, w, r))
    h, c = (np.zeros((x.shape[1], r.shape[1])) if v is None else v for v in (h0, c0))
    y = np.empty((x.shape[0], *h.shape))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        gates = x[t] @ w.T + h @ r.T + (0 if bias is None else bias)
        i, o, f = (1 / (1 + np.exp(-g)) for g in np.split(gates, 4, 1)[:3])
        c = f * c + i * np.tanh(np.split(gates, 4, 1)[3])
        h = y[t] = o * np.tanh(c)
    return y, h, c
