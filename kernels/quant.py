"""Products and convolutions of bytes on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels, fields
from luthier.kernels.checks import check_threads, output_array, window
from luthier.kernels.requant import Requant, centred, requant_fields, weight_type
from luthier.kernels.spaces import check_config, default_config
from luthier.kernels.workload import QConv2d, QDepthwiseConv2d, QGemm

__all__ = ["qconv2d", "qdepthwise_conv2d", "qgemm"]

_TYPES = {"uint8": "u8", "int8": "s8"}


def qgemm(
    a: np.ndarray,
    w: np.ndarray,
    out: Requant,
    *,
    a_zero: Any = 0,
    w_zero: Any = 0,
    bias: np.ndarray | None = None,
    config: Mapping[str, Any] | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Matrix product of bytes: `out` of ``(a - a_zero) @ (w - w_zero) + bias``, exact to the bit.

    Parameters
    ----------
    a : ndarray of uint8 or int8, (m, k) or (batch, m, k)
    w : ndarray of uint8 or int8, (k, n) or (batch, k, n)
    out : Requant
        What becomes of the int32 sums.
    a_zero : int, or ndarray of one element of the dtype of a
        An array is read when the kernel runs.
    w_zero : int or ndarray of ints, (n,)
        One for all, or one a column.
    bias : ndarray of int32, (n,), optional
    config : mapping, optional
        A member of ``space("qgemm", workload).configs``; the untuned choice if left out.
    num_threads : int

    Returns
    -------
    ndarray of the dtype of `out`, (m, n) or (batch, m, n)

    Raises
    ------
    ArgumentError
        A shape, dtype, scale or config does not fit.

    Notes
    -----
    The integer arithmetic of Jacob et al., Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference (2018), with float32 scales.

    Examples
    --------
    >>> a, w = np.full((1, 2), 100, np.uint8), np.full((2, 3), 3, np.int8)
    >>> qgemm(a, w, Requant(0.1, zero=5), a_zero=50)
    array([[35, 35, 35]], dtype=uint8)
    """
    a, w = _bytes("a", a, (2, 3)), _bytes("w", w, (2, 3))
    if a.shape[-1] != w.shape[-2] or (w.ndim == 3 and a.shape[:-2] != w.shape[:-2]):
        raise ArgumentError(f"qgemm: a {list(a.shape)} and w {list(w.shape)} do not fit")
    batch, packed = (a.shape[0] if a.ndim == 3 else 1), w.ndim == 2
    columns = w.shape[-1]
    plain: dict[str, Any] = {}
    if packed:
        weights = centred(w, w_zero, 1)
        wt = weight_type(weights)
    else:
        zeros = np.broadcast_to(np.asarray(w_zero, w.dtype).ravel(), (columns,))
        wt = "s16" if w.dtype == np.uint8 or zeros.any() else "s8m"
        plain = {"w": w, "w_type": fields.dtype_number(_TYPES[w.dtype.name])}
        if wt == "s16":
            plain |= {"w_zero": np.ascontiguousarray(zeros), "w_zero_ns": 1}
    workload = QGemm(
        m=a.shape[-2] * (batch if packed else 1),
        n=columns,
        k=a.shape[-1],
        batch=1 if packed else batch,
        packed=packed,
        **_types(a, wt, out, bias),
        threads=num_threads,
    )
    config = _config(workload, config)
    if packed:
        plain = {"w": fields.pack_weights(workload, weights, config)}
    shape = (*a.shape[:-1], columns)
    return _call(workload, config, {"a": a, **plain}, a_zero, bias, out, shape)


def qconv2d(
    x: np.ndarray,
    w: np.ndarray,
    out: Requant,
    *,
    x_zero: Any = 0,
    w_zero: Any = 0,
    bias: np.ndarray | None = None,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    config: Mapping[str, Any] | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """NHWC convolution of bytes; padding counts as `x_zero`.

    Parameters
    ----------
    x : ndarray of uint8 or int8, (n, h, w, c)
    w : ndarray of uint8 or int8, (oc, c / groups, kh, kw)
    out : Requant
        What becomes of the int32 sums; the residual is (n, oh, ow, oc).
    x_zero, w_zero, bias, config, num_threads
        As in `qgemm`.
    strides, pads, dilations, groups
        As in `luthier.kernels.conv2d`.

    Returns
    -------
    ndarray of the dtype of `out`, (n, oh, ow, oc)

    Raises
    ------
    ArgumentError
        A shape, dtype, scale or config does not fit.

    Examples
    --------
    >>> x, w = np.ones((1, 8, 8, 3), np.uint8), np.ones((16, 3, 3, 3), np.int8)
    >>> qconv2d(x, w, Requant(1.0), pads=(1, 1, 1, 1)).shape
    (1, 8, 8, 16)
    """
    x, w = _bytes("x", x, (4,)), _bytes("w", w, (4,))
    n, h, width, c = x.shape
    if groups < 1 or c != w.shape[1] * groups or w.shape[0] % groups:
        raise ArgumentError(
            f"qconv2d: {c} channels, weights {list(w.shape)} and {groups} groups do not fit"
        )
    weights = centred(w, w_zero, 0)
    workload = QConv2d(
        n=n,
        c=c,
        h=h,
        w=width,
        k=w.shape[0],
        r=w.shape[2],
        s=w.shape[3],
        groups=groups,
        **window(strides, pads, dilations),
        **_types(x, weight_type(weights), out, bias),
        threads=num_threads,
    )
    config = _config(workload, config)
    inputs = {"x": x, "w": fields.pack_weights(workload, weights, config)}
    shape = (n, workload.oh, workload.ow, w.shape[0])
    return _call(workload, config, inputs, x_zero, bias, out, shape)


def qdepthwise_conv2d(
    x: np.ndarray,
    w: np.ndarray,
    out: Requant,
    *,
    x_zero: int = 0,
    w_zero: Any = 0,
    bias: np.ndarray | None = None,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    config: Mapping[str, Any] | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """NHWC depthwise convolution of bytes, one filter a channel; padding counts as `x_zero`.

    Parameters
    ----------
    x : ndarray of uint8 or int8, (n, h, w, c)
    w : ndarray of uint8 or int8, (c, 1, kh, kw)
    out : Requant
        What becomes of the int32 sums: bytes. The residual is (n, oh, ow, c).
    x_zero : int
    w_zero, bias, config, num_threads
        As in `qgemm`.
    strides, pads, dilations
        As in `luthier.kernels.depthwise_conv2d`.

    Returns
    -------
    ndarray of the dtype of `out`, (n, oh, ow, c)

    Raises
    ------
    ArgumentError
        A shape, dtype, scale or config does not fit.

    Notes
    -----
    Neighbouring columns are interleaved byte by byte, so that one instruction sums the taps of a
    channel; the same columns serve two neighbouring pixels, by weights shifted by one place.

    Examples
    --------
    >>> x, w = np.ones((1, 8, 8, 32), np.uint8), np.ones((32, 1, 3, 3), np.int8)
    >>> qdepthwise_conv2d(x, w, Requant(1.0), pads=(1, 1, 1, 1), strides=(2, 2)).shape
    (1, 4, 4, 32)
    """
    x, w = _bytes("x", x, (4,)), _bytes("w", w, (4,))
    n, h, width, c = x.shape
    if w.shape[:2] != (c, 1):
        raise ArgumentError(
            f"qdepthwise_conv2d: expected weights [{c}, 1, kh, kw], got {list(w.shape)}"
        )
    weights = centred(w, w_zero, 0)
    workload = QDepthwiseConv2d(
        n=n,
        c=c,
        h=h,
        w=width,
        r=w.shape[2],
        s=w.shape[3],
        **window(strides, pads, dilations),
        **_types(x, weight_type(weights), out, bias),
        threads=num_threads,
    )
    config = _config(workload, config)
    inputs = {"x": x, "w": fields.pack_weights(workload, weights, config)}
    shape = (n, workload.oh, workload.ow, c)
    return _call(workload, config, inputs, int(x_zero), bias, out, shape)


def _bytes(name: str, value: np.ndarray, ranks: Sequence[int]) -> np.ndarray:
    value = np.ascontiguousarray(value)
    if value.dtype.name not in _TYPES or value.ndim not in ranks:
        expected = " or ".join(map(str, ranks))
        raise ArgumentError(
            f"{name}: expected uint8 or int8 of rank {expected}, got {value.dtype}"
            f" of rank {value.ndim}"
        )
    return value


def _types(a: np.ndarray, wt: str, out: Requant, bias: Any) -> dict[str, Any]:
    flags = {"residual": out.residual is not None, "table": out.table is not None}
    return {"a": _TYPES[a.dtype.name], "wt": wt, "y": out.type, "bias": bias is not None, **flags}


def _config(workload: Any, config: Mapping | None) -> dict[str, Any]:
    check_threads(workload.threads)
    return default_config(workload) if config is None else check_config(workload, config)


def _call(workload, config, inputs, a_zero, bias, out: Requant, shape) -> np.ndarray:
    slots = {
        **fields.workload_fields(workload),
        **fields.config_fields(config),
        **requant_fields(out, shape[-1]),
        **inputs,
    }
    slots["a_zero_at" if isinstance(a_zero, np.ndarray) else "a_zero"] = a_zero
    if isinstance(a_zero, np.ndarray):
        left = inputs["a" if isinstance(workload, QGemm) else "x"]
        if a_zero.size != 1 or a_zero.dtype != left.dtype:
            raise ArgumentError(f"zero point: expected one {left.dtype}, got {a_zero!r}")
    if bias is not None:
        bias = np.ascontiguousarray(bias)
        if bias.dtype != np.int32 or bias.shape != shape[-1:]:
            raise ArgumentError(f"bias: expected int32[{shape[-1]}], got {bias.dtype}{bias.shape}")
        slots["bias"] = bias
    y = output_array(None, shape, np.dtype(out.dtype))
    if out.residual is not None:
        residual = np.ascontiguousarray(out.residual.value)
        if residual.dtype != y.dtype or residual.shape != shape:
            raise ArgumentError(
                f"residual: expected {y.dtype}{list(shape)}, got"
                f" {residual.dtype}{list(residual.shape)}"
            )
        slots["residual"] = residual
    if y.size:
        _kernels.call(workload.op, {**slots, "y": y})
    return y
