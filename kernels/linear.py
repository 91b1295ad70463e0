"""GEMM and convolutions on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import index
from typing import Any, NamedTuple

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels, fields
from luthier.kernels.checks import (
    F32,
    SIGNATURES,
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

Shape = tuple[int, ...]


class _Prepared(NamedTuple):
    """What follows from the shapes and arguments of a call."""

    call: _kernels.Call
    shape: Shape  # of the result
    empty: bool
    workload: Workload
    config: dict[str, Any]


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
    bias, residual = _floats("bias", bias, (1,)), _floats("residual", residual)
    name, params = resolve_activation(activation, activation_params)
    operands = a.shape, w.shape, _shape(bias), _shape(residual)
    prepare = _prepare_gemm if config is None else _prepare_gemm.__wrapped__
    prepared = prepare(*operands, name, params, num_threads, config, precision)
    if w.ndim == 2 and config is not None:  # else C packs it, on all threads
        w = fields.pack_weights(prepared.workload, w, prepared.config)
    return _run(prepared, a, w, bias, residual)


@lru_cache(SIGNATURES)
def _prepare_gemm(
    a, w, bias, residual, activation, params, threads, config, precision
) -> _Prepared:
    if a[-1] != w[-2] or (len(w) == 3 and a[:-2] != w[:-2]):
        raise ArgumentError(f"gemm: a {list(a)} and w {list(w)} do not fit")
    batch = a[0] if len(w) == 3 else 1
    workload = Gemm(
        m=math.prod(a[:-1]) // max(1, batch),
        n=w[-1],
        k=a[-1],
        batch=batch,
        packed=len(w) == 2 and config is not None,
        bias=bias is not None,
        residual=residual is not None,
        activation=activation,
        threads=threads,
    )
    return _prepare(workload, "a", (*a[:-1], w[-1]), bias, residual, params, config, precision)


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
    place = _window(strides, pads, dilations)
    return _convolve(
        _prepare_conv2d,
        x,
        w,
        bias,
        residual,
        activation,
        activation_params,
        layout,
        config,
        (*place, index(groups), num_threads, precision),
    )


@lru_cache(SIGNATURES)
def _prepare_conv2d(
    x,
    w,
    bias,
    residual,
    activation,
    params,
    config,
    strides,
    pads,
    dilations,
    groups,
    threads,
    precision,
) -> _Prepared:
    n, h, width, c = x
    if groups < 1 or c != w[1] * groups or w[0] % groups:
        raise ArgumentError(
            f"conv2d: {c} channels, weights {list(w)} and {groups} groups do not fit"
        )
    workload = Conv2d(
        n=n,
        c=c,
        h=h,
        w=width,
        k=w[0],
        r=w[2],
        s=w[3],
        groups=groups,
        **window(strides, pads, dilations),
        bias=bias is not None,
        residual=residual is not None,
        activation=activation,
        threads=threads,
    )
    shape = n, workload.oh, workload.ow, w[0]
    return _prepare(workload, "x", shape, bias, residual, params, config, precision)


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
    place = _window(strides, pads, dilations)
    return _convolve(
        _prepare_depthwise,
        x,
        w,
        bias,
        residual,
        activation,
        activation_params,
        layout,
        config,
        (*place, num_threads),
    )


@lru_cache(SIGNATURES)
def _prepare_depthwise(
    x, w, bias, residual, activation, params, config, strides, pads, dilations, threads
) -> _Prepared:
    n, h, width, c = x
    if w[:2] != (c, 1):
        raise ArgumentError(f"depthwise_conv2d: expected weights [{c}, 1, kh, kw], got {list(w)}")
    workload = DepthwiseConv2d(
        n=n,
        c=c,
        h=h,
        w=width,
        r=w[2],
        s=w[3],
        **window(strides, pads, dilations),
        bias=bias is not None,
        residual=residual is not None,
        activation=activation,
        threads=threads,
    )
    shape = n, workload.oh, workload.ow, c
    return _prepare(workload, "x", shape, bias, residual, params, config)


def _convolve(
    prepare, x, w, bias, residual, activation, activation_params, layout, config, rest
) -> np.ndarray:
    if residual is not None:
        residual = feature_map("residual", residual, layout)
    bias = _floats("bias", bias, (1,))
    name, params = resolve_activation(activation, activation_params)
    operands = x.shape, w.shape, _shape(bias), _shape(residual)
    prepare = prepare if config is None else prepare.__wrapped__
    prepared = prepare(*operands, name, params, config, *rest)
    packed = fields.pack_weights(prepared.workload, w, prepared.config)
    y = _run(prepared, x, packed, bias, residual)
    return y if layout == "NHWC" else np.ascontiguousarray(y.transpose(0, 3, 1, 2))


def _window(strides, pads, dilations) -> tuple[Shape, Shape, Shape]:
    """The three as what may be a key; `window` says whether they are right."""
    try:
        return tuple(map(index, strides)), tuple(map(index, pads)), tuple(map(index, dilations))
    except TypeError:
        return tuple(window(strides, pads, dilations).values())


def _floats(name: str, value: Any, ranks: Sequence[int] | None = None) -> np.ndarray | None:
    return None if value is None else float_array(name, value, ranks)


def _shape(value: np.ndarray | None) -> Shape | None:
    return None if value is None else value.shape


def _prepare(
    workload, source, shape, bias, residual, params, config, precision="fp32"
) -> _Prepared:
    """The call of an operator whose input is in the slot `source`."""
    check_threads(workload.threads)
    if config is None:
        config = default_config(workload, *allow(native_target(), precision, None))
    else:
        allow(native_target(), precision, None)
        config = check_config(workload, config)
    for name, given, expected in (("bias", bias, shape[-1:]), ("residual", residual, shape)):
        if given not in (None, expected):
            raise ArgumentError(f"{name}: expected {list(expected)}, got {list(given)}")
    slots = {
        **fields.workload_fields(workload),
        **fields.epilogue_fields(workload.activation, params),
        **fields.config_fields(config),
    }
    call = _kernels.Call(workload.op, slots, (source, "w", "bias", "residual", "y"))
    return _Prepared(call, shape, 0 in shape, workload, config)


def _run(prepared: _Prepared, x, w, bias, residual) -> np.ndarray:
    y = output_array(None, prepared.shape, F32)
    if not prepared.empty:
        prepared.call(x, w, bias, residual, y)
    return y
