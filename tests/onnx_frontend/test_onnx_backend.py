"""ONNX's backend interface, and with it every operator test that ONNX generates."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import luthier
from luthier.onnx_frontend.onnx_backend import LuthierBackend

RANDOM = "bernoulli"
"""Operators whose results are random cannot be compared."""

REFUSED = 0.06
"""Share of the tests that may be refused: sequences, optionals, training, results whose shape
depends on more than small inputs."""


def array(item: Any) -> Any:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else item


def agree(got: np.ndarray, want: Any, rtol: float, atol: float) -> bool:
    want = np.asarray(want)
    if got.shape != want.shape or (got.dtype != want.dtype and want.dtype.kind not in "OU"):
        return False
    if want.dtype.kind in "OU":
        return [*map(str, got.ravel())] == [*map(str, want.ravel())]
    if want.dtype.kind in "fc":
        rtol = max(rtol, 2e-2 if want.dtype.itemsize < 4 else 1e-3)
        return np.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    return got.tobytes() == np.ascontiguousarray(want).tobytes()


@pytest.mark.slow
def test_every_operator_test_of_onnx() -> None:
    """The right answer, or an error that says what is not supported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators divide by zero on purpose
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    count: Counter[str] = Counter()
    wrong = []
    for case in cases:
        try:
            rep = LuthierBackend.prepare(case.model, num_threads=1, records=None)
            for inputs, outputs in case.data_sets:
                results = rep.run([array(i) for i in inputs])
                for got, want in zip(results, map(array, outputs), strict=True):
                    if not agree(got, want, case.rtol, case.atol) and RANDOM not in case.name:
                        wrong.append(case.name)
            count["right"] += 1
        except luthier.VerifyError as error:
            wrong.append(f"{case.name}: {error}")
        except luthier.LuthierError:
            count["refused"] += 1
    assert wrong == []
    assert count["refused"] <= REFUSED * len(cases)


def test_run_node() -> None:
    x = np.array([-1, 2], np.float32)
    node = helper.make_node("Relu", ["x"], ["y"])
    (y,) = LuthierBackend.run_node(node, [x], records=None)
    np.testing.assert_array_equal(y, [0, 2])


def model(op: str) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy"]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", info[:1], info[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_what_it_takes() -> None:
    assert LuthierBackend.supports_device("CPU") and not LuthierBackend.supports_device("CUDA")
    assert LuthierBackend.is_compatible(model("Relu"))
    assert not LuthierBackend.is_compatible(model("Nonsense"))
    with pytest.raises(luthier.ArgumentError, match="device 'CUDA': luthier runs on the CPU"):
        LuthierBackend.prepare(model("Relu"), "CUDA")
    rep = LuthierBackend.prepare(model("Relu"), records=None)
    with pytest.raises(luthier.ArgumentError, match="expected 1 inputs, got 2"):
        rep.run([np.zeros(2, np.float32)] * 2)
    np.testing.assert_array_equal(rep.run(np.array([-3, 3], np.float32))[0], [0, 3])
