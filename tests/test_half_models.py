"""Models whose products may round their factors: sessions, exported plans, tuning, records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model

import luthier
from luthier.kernels.cpu import native_target
from luthier.kernels.halves import half_isas
from luthier.limits import PRECISION_ERRORS
from luthier.tuner.device import device_of
from luthier.tuning import _difference

X = np.random.default_rng(0).random((2, 3, 9, 10), np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model.write_model(tmp_path_factory.mktemp("model") / "small.onnx")


def answers(model: Path, **options) -> list[np.ndarray]:
    session = luthier.InferenceSession(model, records=None, **options)
    return session.run(None, {session.get_inputs()[0].name: X})


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sessions_stay_near_float32(model: Path, precision: str) -> None:
    """They round where this CPU has kernels that do, and are equal to the bit elsewhere."""
    exact, got = answers(model), answers(model, precision=precision)
    session = luthier.InferenceSession(model, records=None, precision=precision)
    kernels = {n.kernel for n in session.plan({session.get_inputs()[0].name: X}).nodes}
    rounds = any(f"_{precision}_" in kernel for kernel in kernels)
    assert not rounds or half_isas(session.target)
    assert rounds == any(not np.array_equal(a, b) for a, b in zip(got, exact, strict=True))
    assert _difference(got, exact) < 4 * PRECISION_ERRORS[precision]


def test_a_bound_below_what_kernels_err_by_rules_them_out(model: Path) -> None:
    exact = answers(model, max_error=1e-5)
    for options in ({"precision": "fp32"}, {"precision": "bf16", "max_error": 1e-5}):
        for a, b in zip(answers(model, **options), exact, strict=True):
            assert np.array_equal(a, b)


def test_exported_plans_keep_their_precision(model: Path, tmp_path: Path) -> None:
    luthier.export(
        model,
        tmp_path / "small.luthier",
        shapes={"x": X.shape},
        precision="bf16",
        num_threads=1,
        records=None,
    )
    got = answers(tmp_path / "small.luthier")
    for a, b in zip(got, answers(model, precision="bf16", num_threads=1), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(luthier.ArgumentError, match="a precision of its own"):
        answers(tmp_path / "small.luthier", precision="bf16")


def test_unknown_precisions_are_refused(model: Path) -> None:
    with pytest.raises(luthier.ArgumentError, match="unknown precision 'int4', choose from: fp32"):
        answers(model, precision="int4")
    with pytest.raises(luthier.ArgumentError, match="max_error"):
        answers(model, precision="bf16", max_error=-1.0)


def test_records_of_one_precision_are_not_of_another() -> None:
    devices = {device_of(replace(native_target(), precision=p)) for p in PRECISION_ERRORS}
    assert len(devices) == len({d.fingerprint for d in devices}) == len({d.isa for d in devices})
    assert device_of(native_target()).isa == native_target().isa


def test_tuning_tells_the_error_of_the_whole_model(model: Path, tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    shapes = {"x": X.shape}
    outcome = luthier.tune(
        model, shapes=shapes, records=records, budget=2, num_threads=1, precision="bf16"
    )
    assert outcome.error is not None and outcome.error < 0.05
    session = luthier.InferenceSession(model, records=records, num_threads=1, precision="bf16")
    rounds = any("_bf16_" in n.kernel for n in session.plan({"x": X}).nodes)
    assert (outcome.error > 1e-6) == rounds


def test_differences() -> None:
    right = np.float32([0, 1, 2, 4])
    assert _difference([right], [right]) == 0
    assert _difference([right + np.float32([0, 0, 0.5, 0])], [right]) == 0.125
    assert _difference([np.float32([0, 1, 2, np.inf])], [right]) == np.inf
    assert _difference([np.float32([np.nan, 1])], [np.float32([np.nan, 1])]) == 0
    assert _difference([np.arange(3)], [np.arange(3) + 1]) == 0  # integers follow from floats
