"""Pools, means and softmax of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import ISAS, SIDES, assert_thread_independent, number, run_guarded, sizes
from test_pool import MODES, WINDOWS
from test_pool import slots as pool_slots

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import (
    _kernels,
    max_pool2d,
    qlinear_avg_pool2d,
    qlinear_global_avg_pool,
    qlinear_softmax,
    qreference,
    reference,
)
from luthier.kernels.elementwise import CAST_DTYPES
from luthier.kernels.qreference import softmax_table

DTYPES = (np.uint8, np.int8)
SCALES = [(0.1, 0.1), (0.0235, 0.017), (1.0, 0.5)]


def noise(dtype, *shape, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def kind(dtype):
    return CAST_DTYPES.index(np.dtype(dtype).name)


def pool(mode, x, window, scales, zeros, **options):
    _, _, kernel, strides, pads, dilations, ceil_mode = window
    if mode == "max":
        return max_pool2d(x, kernel, strides, pads, dilations, ceil_mode, **options)
    padded = mode == "average_padded"
    quantised = (scales[0], zeros[0], scales[1], zeros[1])
    return qlinear_avg_pool2d(
        x, *quantised, kernel, strides, pads, dilations, ceil_mode, padded, **options
    )


def expected_pool(mode, x, window, size, scales, zeros):
    _, _, kernel, strides, pads, dilations, _ = window
    if mode == "max":
        y = reference.pool2d(x, kernel, size, strides, pads, dilations, mode)
        return np.maximum(y, np.iinfo(x.dtype).min).astype(x.dtype)
    padded = mode == "average_padded"
    f32 = tuple(map(np.float32, scales))
    return qreference.average_pool2d(x, kernel, size, strides, pads, dilations, padded, f32, zeros)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_pools_agree_with_the_reference(window, mode, isa):
    for dtype, scales, c in zip((*DTYPES, np.uint8), SCALES, (1, 19, 70), strict=True):
        zeros = (np.iinfo(dtype).min + 3, np.iinfo(dtype).min + 130)
        x = noise(dtype, 2, *window[:2], c)
        y = pool(mode, x, window, scales, zeros, layout="NHWC", isa=isa)
        assert y.dtype == dtype
        assert np.array_equal(y, expected_pool(mode, x, window, y.shape[1:3], scales, zeros))
    planes = pool(mode, x.transpose(0, 3, 1, 2), window, scales, zeros, isa=isa)
    assert np.array_equal(planes, y.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("window", [WINDOWS[1], WINDOWS[5], WINDOWS[8]], ids=str)
def test_pools_touch_nothing_else(window, side, isa):
    for c, mode in ((c, mode) for c in sizes(isa) for mode in MODES):
        x = noise(np.int8, 1, *window[:2], c)
        y = pool(mode, x, window, SCALES[1], (5, -7), layout="NHWC", isa=isa)
        fields = {**pool_slots(mode, x, y, window, isa), "type": kind(np.int8)}
        fields |= {"x_scale": SCALES[1][0], "y_scale": SCALES[1][1], "x_zero": 5, "y_zero": -7}
        guarded = run_guarded("pool2d", fields, {"x": x}, y.shape, np.int8, side)
        assert np.array_equal(guarded, y)


@pytest.mark.parametrize("mode", MODES)
def test_pools_of_slices_of_wider_maps_on_threads(mode):
    window, wide = WINDOWS[1], noise(np.uint8, 2, *WINDOWS[1][:2], 50)
    x = np.ascontiguousarray(wide[..., 5:26])
    y = pool(mode, x, window, SCALES[0], (3, 9), layout="NHWC")
    out = np.full((*y.shape[:3], 33), 7, np.uint8)
    fields = {**pool_slots(mode, x, y, window, ISAS[-1]), "type": kind(np.uint8), "threads": 2}
    fields |= {
        "n": 2,
        "ldx": 50,
        "ldy": 33,
        "x_scale": 0.1,
        "y_scale": 0.1,
        "x_zero": 3,
        "y_zero": 9,
    }
    _kernels.call("pool2d", {**fields, "x": wide[..., 5:], "y": out[..., 2:]})
    assert np.array_equal(out[..., 2:23], y)
    assert (out[..., :2] == 7).all() and (out[..., 23:] == 7).all()


@pytest.mark.parametrize(
    "bad",
    [{"type": 5}, {"x_zero": 256}, {"y_zero": -1}, {"x_scale": 0.0}, {"y_scale": np.inf}],
    ids=str,
)
def test_the_pool_driver_refuses(bad):
    x = np.zeros((1, 8, 8, 3), np.uint8)
    window = (8, 8, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), False)
    fields = {**pool_slots("average", x, x, window, "scalar"), "x": x, "y": x.copy()}
    fields |= {"type": kind(np.uint8), "x_scale": 1.0, "y_scale": 1.0}
    _kernels.call("pool2d", fields)
    with pytest.raises(KernelError):
        _kernels.call("pool2d", {**fields, **bad})


# -- means over whole maps -----------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_global_average(dtype, isa):
    low = int(np.iinfo(dtype).min)
    for (c, h, w), (x_scale, y_scale) in zip(
        ((70, 7, 7), (1, 5, 9), (131, 1, 1)), SCALES, strict=True
    ):
        x, x_zero, y_zero = noise(dtype, 2, h, w, c), low + 11, low + 200
        scale = np.float32(x_scale) / (np.float32(y_scale) * np.float32(h * w))
        args = (x_scale, x_zero, y_scale, y_zero)
        y = qlinear_global_avg_pool(x, *args, layout="NHWC", isa=isa)
        expected = qreference.global_average_pool(x.reshape(2, h * w, c), scale, x_zero, y_zero)
        assert np.array_equal(y.reshape(2, c), expected)
        planes = qlinear_global_avg_pool(x.transpose(0, 3, 1, 2), *args, isa=isa)
        assert planes.shape == (2, c, 1, 1)
        assert np.array_equal(planes.reshape(2, c), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_mean_touches_nothing_else(side, isa):
    for inner in sizes(isa):
        x = noise(np.uint8, 2, 5, inner)
        fields = {"outer": 2, "count": 5, "inner": inner, "type": kind(np.uint8), "scale": 0.21}
        fields |= {"x_zero": 100, "y_zero": 128, "isa": number(isa), "threads": 2}
        y = run_guarded("qmean", fields, {"x": x}, (2, inner), np.uint8, side)
        assert np.array_equal(y, qreference.global_average_pool(x, np.float32(0.21), 100, 128))


def test_global_average_refuses():
    with pytest.raises(ArgumentError, match="x: expected rank 3 or more"):
        qlinear_global_avg_pool(np.zeros((2, 3), np.uint8), 1, 0, 1, 0)
    sound = {"outer": 1, "count": 2, "inner": 2, "type": kind(np.uint8), "scale": 1.0}
    sound |= {"x": np.zeros(4, np.uint8), "y": np.zeros(2, np.uint8)}
    _kernels.call("qmean", sound)
    for bad in ({"count": 0}, {"count": 1 << 24}, {"outer": -1}, {"scale": -1.0}, {"type": 0},
                {"x_zero": 300}, {"isa": 9}, {"x": None}):  # fmt: skip
        with pytest.raises(KernelError, match="qmean"):
            _kernels.call("qmean", {**sound, **bad})


# -- softmax -------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype, isa):
    for shape, axis, x_scale in (((3, 10), -1, 0.1), ((2, 1001), 1, 0.03), ((4, 5, 6), 1, 1.5)):
        x = noise(dtype, *shape, seed=shape[0])
        y_zero = int(np.iinfo(dtype).min)
        y = qlinear_softmax(x, x_scale, 1 / 256, y_zero, axis, isa=isa)
        rows = np.moveaxis(x, axis, -1)
        exps = softmax_table(x_scale, shape[axis])
        flat = qreference.softmax(rows.reshape(-1, shape[axis]), exps, np.float32(256), y_zero)
        assert np.array_equal(np.moveaxis(y, axis, -1), flat.reshape(rows.shape))
    assert_thread_independent(
        lambda t: qlinear_softmax(noise(dtype, 99, 300), 0.1, 1 / 256, 0, num_threads=t)
    )


def test_softmax_saturates():
    y = qlinear_softmax(np.int8([[127, -128]]), 1.0, 1 / 256, -128)
    assert y.tolist() == [[127, -128]]


@pytest.mark.parametrize("side", SIDES)
def test_softmax_touches_nothing_else(side):
    for count in (0, 1, 17, 64):
        x, exps = noise(np.int8, 3, count), softmax_table(0.2, max(1, count))
        fields = {"outer": 3, "count": count, "type": kind(np.int8), "factor": 256.0}
        y = run_guarded("qsoftmax", fields, {"x": x, "exps": exps}, x.shape, np.int8, side)
        if count:
            assert np.array_equal(y, qreference.softmax(x, exps, np.float32(256), 0))


def test_the_softmax_driver_refuses():
    sound = {"outer": 1, "count": 2, "type": kind(np.uint8), "factor": 256.0}
    sound |= {
        "x": np.zeros(2, np.uint8),
        "y": np.zeros(2, np.uint8),
        "exps": np.ones(256, np.float32),
    }
    _kernels.call("qsoftmax", sound)
    for bad in ({"type": 0}, {"factor": 0.0}, {"y_zero": -1}, {"outer": -1}, {"exps": None}):
        with pytest.raises(KernelError, match="qsoftmax"):
            _kernels.call("qsoftmax", {**sound, **bad})
