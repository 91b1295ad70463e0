"""Ranges and the numbers that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.onnx_frontend.quantize import activation_params
from luthier.onnx_frontend.quantize.params import INT32_MAX, quantize_bias, weight_scales
from luthier.quantizer.histogram import METHODS, Extent, Histogram, choose_range

U8 = np.dtype(np.uint8)


def histogram(array: np.ndarray) -> Histogram:
    extent = Extent()
    for part in np.array_split(array, 3):
        extent.add(part)
    found = Histogram(extent)
    for part in np.array_split(array, 3):
        found.add(part)
    return found


def error(array: np.ndarray, limits: tuple[float, float]) -> float:
    """Mean squared error of `array` quantised to a range."""
    params = activation_params(*limits, U8)
    real = (params.quantize(array).astype(np.float64) - int(params.zero_point)) * params.scale
    return float(np.mean((real - array) ** 2))


@pytest.fixture(scope="module")
def tailed() -> np.ndarray:
    """Normal numbers with a few that lie far out."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal(200_000).astype(np.float32)
    array[:5] = [40, -35, 38, 36, -30]
    return array


def test_counts_leave_out_zeros(tailed: np.ndarray) -> None:
    found = histogram(np.maximum(tailed, 0))
    assert found.counts.sum() == (tailed > 0).sum()
    assert (found.low, found.high) == (0.0, 40.0)
    exact, _ = np.histogram(tailed[tailed > 0], bins=2048, range=(0, 40))
    assert np.abs(found.counts - exact).sum() < 100  # float32 against float64 edges


def test_minmax_keeps_everything(tailed: np.ndarray) -> None:
    assert choose_range(histogram(tailed), "minmax") == (-35.0, 40.0)


def test_percentile_cuts_what_lies_outside(tailed: np.ndarray) -> None:
    low, high = choose_range(histogram(tailed), "percentile", 99.9)
    inside = np.mean((tailed >= low) & (tailed <= high))
    assert 0.998 <= inside < 0.9999
    assert choose_range(histogram(tailed), "percentile", 100) == (-35.0, 40.0)


@pytest.mark.parametrize("relu", [False, True])
def test_every_cut_beats_minmax_on_a_long_tail(tailed: np.ndarray, relu: bool) -> None:
    array = np.maximum(tailed, 0) if relu else tailed
    found = histogram(array)
    errors = {m: error(array, choose_range(found, m)) for m in METHODS}
    assert min(errors, key=lambda m: errors[m]) == "mse"
    inner = np.abs(array) < 3  # entropy and percentile cut what is rare at any price
    kept = {m: error(array[inner], choose_range(found, m)) for m in METHODS}
    assert all(kept[m] < kept["minmax"] / 4 for m in ("percentile", "entropy"))


@pytest.mark.parametrize("method", METHODS)
def test_uniform_numbers_are_not_cut(method: str) -> None:
    array = np.random.default_rng(1).uniform(-1, 3, 100_000).astype(np.float32)
    low, high = choose_range(histogram(array), method)
    assert -1.0 <= low < -0.9 and 2.8 < high <= 3.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("number", [0.0, 2.5, -1e-30, 3e38])
def test_constant_tensors(method: str, number: float) -> None:
    low, high = choose_range(histogram(np.full(100, number, np.float32)), method)
    assert low <= 0 <= high and np.isfinite([low, high]).all()
    params = activation_params(low, high, U8)
    assert params.scale > 0 and np.isfinite(params.scale)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(("low", "high"), [(0, 6), (-1, 1), (2, 5), (-7, -3), (-0.1, 9), (0, 0)])
def test_zero_is_exact(low: float, high: float, dtype: type) -> None:
    params = activation_params(low, high, np.dtype(dtype))
    zero = params.quantize(np.zeros(1))
    assert zero == params.zero_point and zero.dtype == dtype
    ends = np.array([min(low, 0), max(high, 0)], np.float32)
    stored = params.quantize(ends).astype(np.float64) - int(params.zero_point)
    np.testing.assert_allclose(stored * params.scale, ends, atol=params.scale * 0.51)


def test_ties_go_to_even() -> None:
    params = activation_params(0, 255, U8)
    np.testing.assert_array_equal(
        params.quantize(np.array([0.5, 1.5, 2.5, 300, -3])), [0, 2, 2, 255, 0]
    )


def test_weight_scales() -> None:
    weights = np.array([[0, 0], [1.27, -0.5], [0.1, 12.7]], np.float32)
    np.testing.assert_allclose(weight_scales(weights, 0), [0.1, 0.01, 0.1], rtol=1e-6)
    np.testing.assert_allclose(weight_scales(weights, 1), [0.01, 0.1], rtol=1e-6)
    np.testing.assert_allclose(weight_scales(weights, None), 0.1, rtol=1e-6)
    assert weight_scales(np.zeros((2, 3), np.float32), 0).tolist() == [1, 1]


def test_biases_stay_in_range() -> None:
    scale = np.array([1e-3, 1e-12], np.float32)
    stored = quantize_bias(np.array([0.25, -9.0], np.float32), scale)
    assert stored.tolist() == [250, -INT32_MAX] and stored.dtype == np.int32
