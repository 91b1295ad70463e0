"""The operator cast: every pair of element types."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    ISAS,
    SIDES,
    assert_same_bits,
    assert_thread_independent,
    normal,
    number,
    run_guarded,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, cast, reference
from luthier.kernels.elementwise import CAST_DTYPES

FLOATS = ("float16", "float32", "float64")


def values(dtype: str) -> np.ndarray:
    """Values of every size of this type, and its ends."""
    if dtype == "bool":
        return np.arange(67) % 3 == 0
    if dtype in FLOATS:
        ends = [0.0, -0.0, 0.5, 1.5, -1.5, 127.9, -128.9, 255.5, 256, 32767.9, 65504, 65519.9]
        ends += [65520, -65536, 2.0**31 - 200, 2.0**31, -(2.0**31), 2.0**31 + 0.5, 2.0**63, 1e30]
        ends += [-1e30, 5.9e-8, 2.9e-8, 3.1e-8, 6.1e-5, 1e-40, np.inf, -np.inf, np.nan]
        with np.errstate(over="ignore"):
            return np.concatenate([ends, normal(20, scale=300)]).astype(dtype)
    info = np.iinfo(dtype)
    ends = [info.min, info.min + 1, info.max - 1, info.max, 0, 1]
    wide = np.random.default_rng(0).integers(info.min, info.max, 61, dtype, endpoint=True)
    return np.concatenate([np.array(ends, dtype), wide])


def assert_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    """The same dtype and values; of NaN only that it is one."""
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    if actual.dtype.kind == "f":
        numbers = ~np.isnan(expected)
        assert np.array_equal(np.signbit(actual[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("source", CAST_DTYPES)
@pytest.mark.parametrize("target", CAST_DTYPES)
def test_every_pair(target, source, isa):
    x = values(source)
    assert_equal(cast(x, target, isa=isa), reference.cast(x, target))


@pytest.mark.parametrize("isa", ISAS)
def test_every_half(isa):
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    wide = cast(x, np.float32, isa=isa)
    assert_equal(wide, x.astype(np.float32))
    assert_equal(cast(wide, np.float16, isa=isa), x)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_narrowing_rounds_to_even_once(source, isa):
    halves = np.arange(0, 0x7C00, 7, dtype=np.uint16).view(np.float16).astype(source)
    middle = (halves[1:] + halves[:-1]) / 2
    steps = [np.nextafter(middle, s).astype(source) for s in (-np.inf, np.inf)]
    x = np.concatenate([middle, *steps])
    assert_equal(cast(x, np.float16, isa=isa), x.astype(np.float16))
    # Just beside a tie, nearer to it than float32 can tell.
    x = np.float64([1 + 2**-11 + 2**-40, 1 + 2**-11 - 2**-40, -1 - 3 * 2**-11 - 2**-45])
    assert_equal(cast(x, np.float16, isa=isa), x.astype(np.float16))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float32", "float16"),
        ("float16", "float32"),
        ("float16", "int8"),
        ("uint8", "float32"),
        ("float32", "uint8"),
        ("int64", "bool"),
        ("bool", "bool"),
        ("float64", "float16"),
    ],
)
def test_touches_nothing_else(source, target, side, isa):
    for n in (0, 1, 3, 4, 5, 7, 8, 9, 15, 17, 31, 33, 511, 513):
        x = np.resize(values(source)[:20], n)
        fields = {"n": n, "isa": number(isa)}
        fields |= {"from": CAST_DTYPES.index(source), "to": CAST_DTYPES.index(target)}
        y = run_guarded("cast", fields, {"x": x}, (n,), target, side)
        assert_equal(y, reference.cast(x, target))


def test_every_isa_gives_the_same_bits():
    x = np.concatenate([normal(999), values("float32")])
    assert_same_bits([cast(x[~np.isnan(x)], np.float16, isa=isa) for isa in ISAS])


def test_threads_give_the_same_bits():
    x = normal(3 * 16384 + 7)
    assert_thread_independent(lambda t: cast(x, np.float16, num_threads=t))
    assert_thread_independent(lambda t: cast(x, np.int32, num_threads=t))


def test_unaligned_and_strided():
    raw = np.zeros(41, np.uint8)
    raw[1:] = normal(10).view(np.uint8)
    x = raw[1:].view(np.float32)
    assert_equal(cast(x, np.float64), x.astype(np.float64))
    x = np.arange(12, dtype=np.int32).reshape(3, 4)[::-1, ::2]
    assert_equal(cast(x, np.float32), x.astype(np.float32))


def test_bad_arguments():
    with pytest.raises(ArgumentError, match=r"x: expected one of float32.*got 'complex64'"):
        cast(np.zeros(2, np.complex64), np.float32)
    with pytest.raises(ArgumentError, match="dtype: expected one of"):
        cast(np.zeros(2, np.float32), np.uint64)


@pytest.mark.parametrize("bad", [{"from": 10}, {"to": -1}, {"n": -1}, {"n": 1 << 60}, {"x": None}])
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    with pytest.raises(KernelError):
        _kernels.call("cast", {"n": 4, "from": 0, "to": 1, "x": x, "y": x, **bad})
