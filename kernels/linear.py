"""GEMM and convolutions on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels, fields
from luthier.kernels.checks import (
    check_threads,
    feature_map,
    float_array,
    output_array,
    resolve_activation,
    window,
)
from luthier.kernels.cpu import native_target
from luthier.kernels.spaces import allow, check_config, default_config
from luthier.kernels.workload import Conv2d, DepthwiseConv2d, Gemm, Workload

__all__ = ["conv2d", "depthwise_conv2d", "gemm"]


def gemm(
    a: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    residual: np.ndarray | None = None,
    activation: str | None = None,
    activation_params: Sequence[float] | None = None,
    config: Mapping[str, Any] | None = None,
    num_threads: int = 1,
    precision: str = "fp32",
) -> np.ndarray:
    """Matrix product with a fused epilogue: ``activation(a @ w + bias + residual)``.

    Parameters
    ----------
    a : ndarray of float32, (m, k) or (batch, m, k)
    w : ndarray of float32, (k, n) or (batch, k, n)
    bias : ndarray of float32, (n,), optional
    residual : ndarray of float32, the shape of the result, optional
    activation : str, optional
        One of `luthier.kernels.ACTIVATIONS`.
    activation_params : sequence of two floats, optional
        ``clip``: low and high; ``hard_sigmoid``: slope and offset; ``leaky_relu``: slope and 0.
    config : mapping, optional
        A member of ``space("gemm", workload).configs``; the untuned choice if left out.
    num_threads : int
    precision : str
        ``"bf16"`` or ``"fp16"``: where this CPU has kernels for it, factors are rounded so, and
        sums are float32 (in fp16, of blocks of a few products). Without effect on a `config`.

    Returns
    -------
    ndarray of float32, (m, n) or (batch, m, n)

    Raises
    ------
    ArgumentError
        A shape, dtype, activation or config does not fit.

    Notes
    -----
    Panels of w are packed as in Goto and van de Geijn, Anatomy of High-Performance Matrix
    Multiplication (2008); the micro-kernel reads rows of a in place.

    Examples
    --------
    >>> y = gemm(np.ones((2, 3), np.float32), np.ones((3, 4), np.float32), activation="relu")
    >>> y[0]
    array([3., 3., 3., 3.], dtype=float32)
    """
    a, w = float_array("a", a, (2, 3)), float_array("w", w, (2, 3))
    if a.shape[-1] != w.shape[-2] or (w.ndim == 3 and a.shape[:-2] != w.shape[:-2]):
        raise ArgumentError(f"gemm: a {list(a.shape)} and w {list(w.shape)} do not fit")
    batch = len(a) if w.ndim == 3 else 1
    packed = w.ndim == 2 and config is not None  # else C packs it, on all threads
    name, params = resolve_activation(activation, activation_params)
    workload = Gemm(
        m=math.prod(a.shape[:-1]) // max(1, batch),
        n=w.shape[-1],
        k=a.shape[-1],
        batch=batch,
        packed=packed,
        bias=bias is not None,
        residual=residual is not None,
        activation=name,
        threads=num_threads,
    )
    shape = (*a.shape[:-1], w.shape[-1])
    weights = (lambda c: fields.pack_weights(workload, w, c)) if packed else (lambda c: w)
    return _call(workload, {"a": a}, weights, bias, residual, shape, params, config, precision)


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    residual: np.ndarray | None = None,
    activation: str | None = None,
    activation_params: Sequence[float] | None = None,
    layout: str = "NCHW",
    config: Mapping[str, Any] | None = None,
    num_threads: int = 1,
    precision: str = "fp32",
) -> np.ndarray:
    """Two-dimensional convolution: ``activation(conv(x, w) + bias + residual)``.

    Parameters
    ----------
    x : ndarray of float32, (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``
    w : ndarray of float32, (oc, c / groups, kh, kw)
    bias : ndarray of float32, (oc,), optional
    strides, dilations : two ints
    pads : four ints
        Top, left, bottom, right.
    groups : int
    residual : ndarray of float32, the shape of the result, optional
    activation, activation_params, config, num_threads, precision
        As in `gemm`.
    layout : str
        Of x, residual and the result. Kernels work on NHWC; NCHW is converted on both sides.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    ArgumentError
        A shape, dtype, activation or config does not fit.

    Notes
    -----
    A GEMM over pixels: of all of them (pointwise), of rows gathered a block at a time (im2col,
    after Chellapilla et al., 2006), or of an output row in place, a segment a tap (direct, after
    Georganas et al., Anatomy of High-Performance Deep Learning Convolutions, 2018). Dense 3x3
    windows also by minimal filtering of tiles (winograd2, 4 and 6, after Lavin and Gray, Fast
    Algorithms for Convolutional Neural Networks, 2016), where a NaN spreads over its tiles.

    Examples
    --------
    >>> x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((16, 3, 3, 3), np.float32)
    >>> conv2d(x, w, pads=(1, 1, 1, 1), activation="relu").shape
    (1, 16, 8, 8)
    """
    x, w = feature_map("x", x, layout), float_array("w", w, (4,))
    n, h, width, c = x.shape
    if groups < 1 or c != w.shape[1] * groups or w.shape[0] % groups:
        raise ArgumentError(
            f"conv2d: {c} channels, weights {list(w.shape)} and {groups} groups do not fit"
        )
    name, params = resolve_activation(activation, activation_params)
    workload = Conv2d(
        n=n,
        c=c,
        h=h,
        w=width,
        k=w.shape[0],
        r=w.shape[2],
        s=w.shape[3],
        groups=groups,
        **window(strides, pads, dilations),
        bias=bias is not None,
        residual=residual is not None,
        activation=name,
        threads=num_threads,
    )
    return _convolve(workload, x, w, bias, residual, params, layout, config, precision)


def depthwise_conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    residual: np.ndarray | None = None,
    activation: str | None = None,
    activation_params: Sequence[float] | None = None,
    layout: str = "NCHW",
    config: Mapping[str, Any] | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Depthwise convolution, one filter a channel, with a fused epilogue.

    Parameters
    ----------
    x : ndarray of float32, (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``
    w : ndarray of float32, (c, 1, kh, kw)
    bias, strides, pads, dilations, residual, activation, activation_params
        As in `conv2d`.
    layout, config, num_threads
        As in `conv2d`.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    ArgumentError
        A shape, dtype, activation or config does not fit.

    Examples
    --------
    >>> x, w = np.ones((1, 32, 8, 8), np.float32), np.ones((32, 1, 3, 3), np.float32)
    >>> depthwise_conv2d(x, w, pads=(1, 1, 1, 1), strides=(2, 2)).shape
    (1, 32, 4, 4)
    """
    x, w = feature_map("x", x, layout), float_array("w", w, (4,))
    n, h, width, c = x.shape
    if w.shape[:2] != (c, 1):
        raise ArgumentError(
            f"depthwise_conv2d: expected weights [{c}, 1, kh, kw], got {list(w.shape)}"
        )
    name, params = resolve_activation(activation, activation_params)
    workload = DepthwiseConv2d(
        n=n,
        c=c,
        h=h,
        w=width,
        r=w.shape[2],
        s=w.shape[3],
        **window(strides, pads, dilations),
        bias=bias is not None,
        residual=residual is not None,
        activation=name,
        threads=num_threads,
    )
    return _convolve(workload, x, w, bias, residual, params, layout, config)


def _convolve(workload, x, w, bias, residual, params, layout, config, precision="fp32"):
    if residual is not None:
        residual = feature_map("residual", residual, layout)
    shape = (workload.n, workload.oh, workload.ow, w.shape[0])
    y = _call(
        workload,
        {"x": x},
        lambda c: fields.pack_weights(workload, w, c),
        bias,
        residual,
        shape,
        params,
        config,
        precision,
    )
    return y if layout == "NHWC" else np.ascontiguousarray(y.transpose(0, 3, 1, 2))


def _call(
    workload: Workload, inputs, weights, bias, residual, shape, params, config, precision
) -> np.ndarray:
    check_threads(workload.threads)
    target, max_error = allow(native_target(), precision, None)
    if config is None:
        config = default_config(workload, target, max_error)
    else:
        config = check_config(workload, config)
    if bias is not None:
        bias = float_array("bias", bias, (1,))
        if bias.shape != shape[-1:]:
            raise ArgumentError(f"bias: expected [{shape[-1]}], got {list(bias.shape)}")
    if residual is not None:
        residual = float_array("residual", residual, (len(shape),))
        if residual.shape != shape:
            raise ArgumentError(f"residual: expected {list(shape)}, got {list(residual.shape)}")
    y = output_array(None, shape, np.dtype(np.float32))
    if y.size:
        slots = {
            **fields.workload_fields(workload),
            **fields.epilogue_fields(workload.activation, params),
            **fields.config_fields(config),
            **inputs,
            "w": weights(config),
            "bias": bias,
            "residual": residual,
            "y": y,
        }
        _kernels.call(workload.op, slots)
    return y
