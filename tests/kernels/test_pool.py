"""The operator pool2d."""

from __future__ import annotations

import numpy as np
import pytest
from guard import guarded_copy
from kernel_cases import (
    ISAS,
    SIDES,
    assert_close,
    assert_thread_independent,
    normal,
    number,
    run_guarded,
    sizes,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, avg_pool2d, max_pool2d, reference

MODES = ("max", "average", "average_padded")

ULPS, ABSOLUTE = 4, 1e-6
"""Of averages over values of the order of one; a maximum is exact."""

# height, width, kernel, strides, pads, dilations, ceil_mode
WINDOWS = [
    (8, 9, (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), False),
    (8, 9, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False),
    (8, 9, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), False),
    (8, 9, (3, 3), (2, 2), (0, 0, 0, 0), (1, 1), True),
    (7, 7, (7, 7), (1, 1), (0, 0, 0, 0), (1, 1), False),
    (9, 8, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), False),
    (14, 13, (13, 13), (1, 1), (6, 6, 6, 6), (1, 1), False),
    (11, 12, (9, 9), (1, 1), (4, 4, 4, 4), (1, 1), False),
    (9, 10, (3, 2), (2, 1), (1, 0, 0, 1), (2, 3), False),
    (9, 10, (2, 4), (3, 3), (1, 2, 1, 3), (1, 2), True),
    (12, 12, (5, 5), (1, 1), (4, 4, 4, 4), (2, 2), True),
    (1, 1, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), False),
    (3, 4, (1, 3), (1, 2), (2, 2, 2, 2), (1, 1), True),
]


def pool(mode, x, window, **options):
    _, _, kernel, strides, pads, dilations, ceil_mode = window
    if mode == "max":
        return max_pool2d(x, kernel, strides, pads, dilations, ceil_mode, **options)
    padded = mode == "average_padded"
    return avg_pool2d(x, kernel, strides, pads, dilations, ceil_mode, padded, **options)


def check(mode, x, window, y):
    _, _, kernel, strides, pads, dilations, _ = window
    expected = reference.pool2d(x, kernel, y.shape[1:3], strides, pads, dilations, mode)
    tolerance = () if mode == "max" else (ULPS, ABSOLUTE)
    assert_close(y, expected, *tolerance)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_agrees_with_the_reference(window, mode, isa):
    for c in (1, 19, 70):
        x = normal(2, *window[:2], c)
        y = pool(mode, x, window, layout="NHWC", isa=isa)
        check(mode, x, window, y)
    planes = pool(mode, x.transpose(0, 3, 1, 2), window, isa=isa)
    assert np.array_equal(planes, y.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("ceil_mode", "expected"), [(False, (2, 2)), (True, (3, 3))], ids=["floor", "ceil"]
)
def test_output_size(ceil_mode, expected):
    x = np.zeros((1, 1, 6, 6), np.float32)
    assert max_pool2d(x, (3, 3), (2, 2), ceil_mode=ceil_mode).shape[2:] == expected
    # The last window would start in the padding: it is dropped.
    assert max_pool2d(x, (1, 1), (3, 3), (0, 0, 1, 1), ceil_mode=True).shape[2:] == (2, 2)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", [WINDOWS[2], WINDOWS[5]], ids=str)
def test_extremes_at_every_place(window, value, mode, isa):
    x = normal(1, *window[:2], 37)
    flat = x.reshape(-1, 37)
    flat[np.arange(len(flat)), np.arange(len(flat)) % 37] = value
    check(mode, x, window, pool(mode, x, window, layout="NHWC", isa=isa))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("window", [WINDOWS[1], WINDOWS[5], WINDOWS[8]], ids=str)
def test_touches_nothing_else(window, side, isa):
    for c in sizes(isa):
        for mode in MODES:
            x = normal(1, *window[:2], c)
            expected = pool(mode, x, window, layout="NHWC", isa=isa)
            y = run_guarded("pool2d", slots(mode, x, expected, window, isa), {"x": x},
                            expected.shape, np.float32, side)  # fmt: skip
            assert np.array_equal(y, expected)


def slots(mode, x, y, window, isa):
    (_, ih, iw, c), (_, oh, ow, _) = x.shape, y.shape
    _, _, (kh, kw), (sh, sw), (pt, pl, pb, pr), (dh, dw), _ = window
    fields = {"mode": MODES.index(mode), "n": 1, "ih": ih, "iw": iw, "c": c, "oh": oh, "ow": ow}
    fields |= {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "pt": pt, "pl": pl, "pb": pb, "pr": pr}
    return {**fields, "dh": dh, "dw": dw, "ldx": c, "ldy": c, "isa": number(isa)}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", [WINDOWS[1], WINDOWS[5]], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_slices_of_wider_maps(mode, window, isa):
    wide = normal(2, *window[:2], 50)
    x = np.ascontiguousarray(wide[..., 5:26])
    expected = pool(mode, x, window, layout="NHWC", isa=isa)
    y = np.full((*expected.shape[:3], 33), 7, np.float32)
    fields = slots(mode, x, expected, window, isa) | {"n": 2, "ldx": 50, "ldy": 33}
    _kernels.call("pool2d", {**fields, "x": wide[..., 5:], "y": y[..., 2:]})
    assert np.array_equal(y[..., 2:23], expected)
    assert (y[..., :2] == 7).all() and (y[..., 23:] == 7).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", [WINDOWS[1], WINDOWS[6]], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_threads_give_the_same_bits(mode, window, isa):
    x = normal(2, *window[:2], 151)
    assert_thread_independent(
        lambda t: pool(mode, x, window, layout="NHWC", isa=isa, num_threads=t)
    )


def test_empty():
    assert max_pool2d(np.zeros((0, 3, 4, 4), np.float32), (2, 2)).shape == (0, 3, 3, 3)
    assert avg_pool2d(np.zeros((1, 0, 4, 4), np.float32), (2, 2)).shape == (1, 0, 3, 3)


def test_a_window_of_padding_only():
    x = guarded_copy(np.ones((1, 1, 1, 1), np.float32))
    options = {"strides": (1, 1), "pads": (2, 0, 0, 0)}
    assert max_pool2d(x, (1, 1), **options).ravel().tolist() == [-np.inf, -np.inf, 1]
    assert avg_pool2d(x, (1, 1), **options).ravel().tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kernel": (2,)}, "kernel: expected 2 ints of at least 1"),
        ({"kernel": (5, 1)}, "kernel: a window of 5 exceeds the padded size 4"),
        ({"kernel": (2, 2), "strides": (0, 1)}, "strides: expected 2 ints of at least 1"),
        ({"kernel": (2, 2), "pads": (0, 0, -1, 0)}, "pads: expected 4 ints of at least 0"),
        ({"kernel": (2, 2), "layout": "CHWN"}, "layout: expected 'NCHW' or 'NHWC'"),
    ],
)
def test_bad_arguments(options, text):
    with pytest.raises(ArgumentError, match=text):
        max_pool2d(np.zeros((1, 1, 4, 4), np.float32), **options)


@pytest.mark.parametrize(
    "bad",
    [
        {"mode": 3},
        {"kh": 0},
        {"sw": -1},
        {"pt": -1},
        {"ldx": 2},
        {"n": 1 << 50},
        {"dh": 1 << 30},
        {"isa": 8},
        {"y": None},
        {"kh": 5, "kw": 5, "pt": 2, "pl": 2, "work": None},
    ],
    ids=str,
)
def test_the_driver_refuses(bad):
    x = np.zeros((1, 8, 8, 3), np.float32)
    window = (8, 8, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), False)
    fields = {**slots("max", x, x, window, "scalar"), "x": x, "y": np.zeros_like(x), **bad}
    with pytest.raises(KernelError):
        _kernels.call("pool2d", fields)
