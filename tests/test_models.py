"""Whole models from file to answer: real ones, and those of the onnx package."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import luthier
from luthier.feeds import stored_sets
from luthier.graph import Plan

pytestmark = pytest.mark.slow

FLOAT_MODELS = {
    "mnist12": 1e-5,
    "squeezenet_fp16": 1e-5,
    "mobilenet_v2_real_ts13": 1e-5,
    "ppocrv2_cls": 1e-5,
    "pplcnet_orientation": 1e-5,
    "ppocrv4_rec": 1e-5,
    "ultraface_rfb320": 1e-5,
    "centerface_dyn": 3e-5,
    "basic_pitch_nmp": 3e-5,
    "yolox_nano": 1e-4,
    "ppocrv4_det": 1e-4,
}
"""Model -> largest error as a share of the output's range. The expected outputs are themselves up
to 2e-5 off a float64 evaluation where this is more than 1e-5 (3e-6 for the first two)."""

NEAR_FLAT = {("ppocrv4_det", 1): 1e-2}
"""Sets with an output of hardly any range: rounding is all that differs in it."""


def error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference as a share of the wanted range."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    got, want = got.astype(np.float64), want.astype(np.float64)
    assert np.isfinite(got).all()
    return float(np.abs(got - want).max() / (np.ptp(want) or 1.0))


def open_model(path: Path, threads: int, **options: object) -> luthier.InferenceSession:
    return luthier.InferenceSession(path, num_threads=threads, records=None, **options)


def backends(plan: Plan) -> set[str]:
    return {node.backend for node in plan.nodes}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_float_model(name: str, threads: int, real_model: Callable[[str], Path]) -> None:
    folder = real_model(name)
    session = open_model(folder / "model.onnx", threads)
    for i, stored in enumerate(stored_sets(folder)):
        feeds = stored.feeds(session.model)
        assert backends(session.plan(feeds)) == {"native"}
        limit = NEAR_FLAT.get((name, i), FLOAT_MODELS[name])
        for got, want in zip(session.run(None, feeds), stored.outputs(), strict=True):
            assert error(got, want) <= limit


@pytest.mark.parametrize("name", ["mnist12", "yolox_nano", "ppocrv4_rec"])
def test_threads_change_nothing(name: str, real_model: Callable[[str], Path]) -> None:
    folder = real_model(name)
    sessions = [open_model(folder / "model.onnx", threads) for threads in (1, 2)]
    feeds = stored_sets(folder)[0].feeds(sessions[0].model)
    one, two = (session.run(None, feeds) for session in sessions)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(np.abs(a).max()))


@pytest.mark.parametrize("name", ["silero_vad_v6", "silero_vad_16k_sequence"])
def test_recurrent_model(name: str, real_model: Callable[[str], Path]) -> None:
    folder = real_model(name)
    session = open_model(folder / "model.onnx", 1)
    for stored in stored_sets(folder):
        results = session.run(None, stored.feeds(session.model))
        for got, want in zip(results, stored.outputs(), strict=True):
            assert error(got, want) <= 1e-5


def test_quantised_operators(real_model: Callable[[str], Path]) -> None:
    """Integers are exact: the very bits of the stored outputs, on kernels alone."""
    folder = real_model("mobilenet_v2_qop_u8s8_pc")
    for threads in (1, 2):
        session = open_model(folder / "model.onnx", threads)
        for stored in stored_sets(folder):
            feeds = stored.feeds(session.model)
            assert backends(session.plan(feeds)) == {"native"}
            (got,), (want,) = session.run(None, feeds), stored.outputs()
            np.testing.assert_array_equal(got, want)


def test_quantised_model(real_model: Callable[[str], Path]) -> None:
    """Joining quantisers may move results by quanta; the best class stays. The results are the very
    bits of ONNX Runtime, which joins them too."""
    folder = real_model("mobilenet_v2_qdq_u8s8_pc")
    session = open_model(folder / "model.onnx", 1)
    peer = onnxruntime.InferenceSession(
        os.fspath(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    for stored in stored_sets(folder):
        feeds = stored.feeds(session.model)
        (got,), (want,) = session.run(None, feeds), stored.outputs()
        assert got.argmax() == want.argmax()
        assert error(got, want) <= 0.1
        assert backends(session.plan(feeds)) == {"native"}
        np.testing.assert_array_equal(got, peer.run(None, feeds)[0])


@pytest.mark.parametrize("name", ["mnist12", "ppocrv2_cls"])
def test_reference_alone_agrees(name: str, real_model: Callable[[str], Path]) -> None:
    folder = real_model(name)
    session = open_model(folder / "model.onnx", 1, backends=("reference",))
    stored = stored_sets(folder)[0]
    feeds = stored.feeds(session.model)
    assert backends(session.plan(feeds)) == {"reference"}
    for got, want in zip(session.run(None, feeds), stored.outputs(), strict=True):
        assert error(got, want) <= 1e-5


def largest_weight(session: luthier.InferenceSession) -> weakref.ref:
    arrays = [v.data for v in session.model.graph.values() if v.data is not None]
    return weakref.ref(max(arrays, key=lambda a: a.nbytes))


def test_static_model_drops_its_weights(real_model: Callable[[str], Path]) -> None:
    folder = real_model("mobilenet_v2_real_ts13")
    session = open_model(folder / "model.onnx", 1)
    feeds = stored_sets(folder)[0].feeds(session.model)
    original = largest_weight(session)
    first = session.run(None, feeds)
    gc.collect()
    assert original() is None
    for a, b in zip(first, session.run(None, feeds), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [o.name for o in session.get_outputs()] == [o.name for o in session.get_outputs()]


def test_plans_of_a_dynamic_model_share_packed_weights(
    real_model: Callable[[str], Path],
) -> None:
    folder = real_model("pplcnet_orientation")
    session = open_model(folder / "model.onnx", 1)
    (feeds,) = [stored_sets(folder)[0].feeds(session.model)]
    twice = {name: np.concatenate([a, a]) for name, a in feeds.items()}
    (one,), (two,) = session.run(None, feeds), session.run(None, twice)
    np.testing.assert_allclose(two, np.concatenate([one, one]), rtol=1e-4, atol=1e-6)
    plans = [session.plan(f) for f in (feeds, twice)]
    addresses = [{a.ctypes.data for a in plan._constants if a.nbytes > 1 << 12} for plan in plans]
    assert addresses[0] & addresses[1]


LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


@pytest.mark.parametrize(
    "name",
    ["densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet"],
)
def test_architecture_with_constant_weights(name: str) -> None:
    """The models that the onnx package carries; the larger ones add nothing but weights."""
    path = LIGHT / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip(f"the onnx package has no {path.name}")
    session = open_model(path, 2)
    (x,) = [i for i in session.get_inputs() if len(i.shape) == 4]
    image = np.random.default_rng(0).random(x.shape, np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    peer = onnxruntime.InferenceSession(
        os.fspath(path), options, providers=["CPUExecutionProvider"]
    )
    for got, want in zip(
        session.run(None, {x.name: image}), peer.run(None, {x.name: image}), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * float(np.abs(want).max()))
