"""The reference backend against ONNX's own operator tests and real models."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from luthier.errors import InvalidModelError, UnsupportedError
from luthier.graph import bind, ops, reference
from luthier.graph.ir import Graph, Node, Value
from luthier.onnx_frontend import load, load_tensor

F32 = np.dtype(np.float32)


def run(bound: Graph, feeds: list[np.ndarray]) -> list[np.ndarray]:
    """Evaluate node by node; every result must have the type that `bind` inferred."""
    known = dict(zip(bound.inputs, feeds, strict=True))

    def array(value: Value | None) -> Any:
        return None if value is None else known[value] if value.data is None else value.data

    for node in bound.nodes:
        results = reference.evaluate(node, [array(v) for v in node.inputs])
        for value, result in zip(node.outputs, results, strict=True):
            assert (result.dtype, result.shape) == (value.dtype, value.shape), node.name
            known[value] = result
    return [array(v) for v in bound.outputs]


@pytest.mark.parametrize("name", ["mnist12", "silero_vad_16k_sequence", "silero_vad_v6"])
def test_real_models(name: str, real_model: Callable[[str], Path]) -> None:
    """Outputs within 1e-5 of the stored outputs' range; nested If, LSTM, Conv, auto_pad."""
    check(real_model(name))


def test_ultraface(real_model: Callable[[str], Path]) -> None:
    """Dilated and strided convolutions, Slice, Concat and Softmax node by node."""
    check(real_model("ultraface_rfb320"))


def check(folder: Path) -> None:
    graph = load(folder / "model.onnx")
    for vectors in sorted(folder.glob("test_data_set_*")):
        feeds = [load_tensor(vectors / f"input_{i}.pb") for i in range(len(graph.inputs))]
        bound = bind(graph, {v.name: f.shape for v, f in zip(graph.inputs, feeds, strict=True)})
        for i, got in enumerate(run(bound, feeds)):
            want = load_tensor(vectors / f"output_{i}.pb")
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1, np.ptp(want)))


def array_of(item: Any) -> np.ndarray:
    return numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else np.asarray(item)


def operator_tests() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX computes its expected infinities by dividing by 0
        return load_model_tests(kind="node")


OUT_OF_SCOPE = (
    "only tensors are known",  # sequences and optional values
    "sequences and optional values",
    "domain 'ai.onnx.preview",
    "is not supported, only",  # opset 1
    "has a batch axis",  # Scan of opset 8
    "number of iterations",
    "values of 'slice_start'",  # a Loop whose shapes follow the iteration
    "is not known before it runs",  # strings, images
)


def test_onnx_operator_tests() -> None:
    """Every generated operator test of the onnx wheel is read, bound and computed.

    Inputs that shapes depend on are bound by their content. What is refused must be refused for
    one of the known reasons, and that may not become the rule.
    """
    computed, refused, wrong = 0, 0, []
    for case in operator_tests():
        if any(word in case.name for word in ("bernoulli", "training_dropout")):
            continue  # random
        try:
            graph = load(case.model.SerializeToString())
            feeds, wants = ([array_of(i) for i in group] for group in case.data_sets[0])
            shapes = {v.name: f.shape for v, f in zip(graph.inputs, feeds, strict=True)}
            try:
                bound = bind(graph, shapes)
            except UnsupportedError:
                small = {v.name: f for v, f in zip(graph.inputs, feeds, strict=True) if f.size < 99}
                bound = bind(graph, shapes, small)
        except UnsupportedError as error:
            assert any(reason in str(error) for reason in OUT_OF_SCOPE), (case.name, str(error))
            refused += 1
            continue
        for got, want in zip(run(bound, feeds), wants, strict=True):
            if not equal(got, want):
                wrong.append(case.name)
        computed += 1
    assert wrong == []
    assert computed > 15 * refused


def equal(got: np.ndarray, want: np.ndarray) -> bool:
    if want.dtype.kind in "OUS":
        return bool(np.all(got == want))
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    a, b = got.astype(wide), want.astype(wide)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True))


def node(op: str, *arrays: np.ndarray, domain: str = "", **attrs: Any) -> Node:
    inputs = [Value(f"i{i}", a.dtype, a.shape) for i, a in enumerate(arrays)]
    return Node(op, list(inputs), [Value("o")], attrs, "n", domain, 21)


NUMPY_RULES = {name: info for name, info in ops.TABLES[""].items() if info.compute is not None}

RNG = np.random.default_rng(0)
A, B = RNG.integers(-9, 9, (2, 3, 4)), RNG.integers(1, 9, (3, 1))
FLAGS = A > 0
I = np.array  # noqa: E741  short for the many small constants below

BYTES, FILTERS = (
    RNG.integers(0, 256, (2, 3, 5, 4), np.uint8),
    RNG.integers(-128, 128, (4, 3, 2, 2), np.int8),
)
SCALE, ZERO = np.float32(0.25), np.uint8(7)
EIGHTH, NONE = np.full(4, 0.125, "f"), np.zeros(4, np.int8)

RULE_CASES: dict[str, list[tuple[list[np.ndarray], dict[str, Any]]]] = {
    **{op: [([A, B], {}), ([A.astype("f"), B.astype("f")], {})] for op in ("Add", "Sub", "Mul")},
    "Div": [([A, B], {}), ([A, -B], {}), ([A.astype("f"), B.astype("f")], {})],
    **{op: [([A, B], {})] for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")},
    **{op: [([FLAGS, ~FLAGS[0]], {})] for op in ("And", "Or")},
    "Not": [([FLAGS], {})],
    **{op: [([A / 4], {})] for op in ("Neg", "Abs", "Floor", "Ceil", "Identity")},
    "Sqrt": [([np.abs(A / 4)], {})],
    "Where": [([FLAGS, A, B], {})],
    "Cast": [([A / 4], {"to": 7}), ([A], {"to": 9}), ([FLAGS], {"to": 1}), ([A / 4], {"to": 16})],
    "Shape": [([A], {}), ([A], {"start": -2, "end": -1})],
    "Size": [([A], {})],
    "Reshape": [([A, I([0, -1])], {})],
    "Flatten": [([A], {"axis": 2})],
    "Squeeze": [([B, I([-1])], {}), ([B], {})],
    "Unsqueeze": [([A, I([0, 2])], {})],
    "Transpose": [([A], {"perm": [2, 0, 1]}), ([A], {})],
    "Expand": [([B, I([2, 1, 4])], {})],
    "Concat": [([A, A[:1]], {"axis": 0}), ([A, A], {"axis": -1})],
    "Slice": [
        ([A, I([1, -1]), I([9, -99]), I([1, 2]), I([1, -2])], {}),
        ([A, I([0]), I([1])], {}),
        ([A, I([2]), I([1]), I([2])], {}),
    ],
    "Gather": [([A, I([[1, -1], [0, 2]])], {"axis": 1}), ([A, I(1)], {})],
    "GatherElements": [([A, A[:, :2] % 3], {"axis": 1}), ([B, I([[-2]])], {})],
    "Pad": [
        ([A, I([0, 1, 2, 3, 0, 4]), I(5)], {}),
        ([A, I([0, 1, 2, 1, 0, 2])], {"mode": "reflect"}),
        ([A, I([0, 1, 9, 1, 0, 7])], {"mode": "wrap"}),
        ([A, I([0, 1, 9, 1, 0, 7])], {"mode": "edge"}),
    ],
    "ConstantOfShape": [([I([2, 3])], {"value": I([7], np.int8)}), ([I([2])], {})],
    "Range": [([I(2), I(11), I(3)], {}), ([I(2.0), I(-1.0), I(-0.5)], {})],
    "NonZero": [([A], {})],
    "QuantizeLinear": [
        ([A.astype("f"), I(SCALE), I(ZERO)], {}),
        ([A.astype("f"), EIGHTH, NONE], {"axis": 2}),
        ([A.astype("f"), I(SCALE)], {"output_dtype": 5}),
    ],
    # As many images as channels, because ONNX's takes the one for the other.
    "LRN": [
        (
            [np.arange(54.0).reshape(3, 3, 3, 2)],
            {"size": 2, "alpha": 4.0, "beta": 0.75, "bias": 1.0},
        )
    ],
    "DequantizeLinear": [([BYTES, I(SCALE), I(ZERO)], {}), ([FILTERS, EIGHTH, NONE], {"axis": 0})],
    "DynamicQuantizeLinear": [([A.astype("f")], {}), ([np.zeros(3, "f")], {})],
    "ConvInteger": [([BYTES, FILTERS.view(np.uint8), I(ZERO)], {"pads": [1, 0, 0, 1]})],
    "QLinearConv": [
        ([BYTES, I(SCALE), I(ZERO), FILTERS, EIGHTH, NONE, I(np.float32(256)), I(ZERO)], {})
    ],
    "MatMulInteger": [([BYTES, BYTES[0, 0, :4], I(ZERO), I(ZERO)], {})],
    "QLinearMatMul": [
        (
            [BYTES, I(SCALE), I(ZERO), BYTES[0, 0, :4], I(SCALE), I(ZERO), I(SCALE * 512), I(ZERO)],
            {},
        )
    ],
}


@pytest.mark.parametrize("op", sorted(NUMPY_RULES))
def test_numpy_rules_agree_with_onnx(op: str) -> None:
    """The NumPy rule of an operator computes what onnx.reference computes."""
    for arrays, attrs in RULE_CASES[op]:
        item = node(op, *arrays, **attrs)
        want = reference.prepare(item)(arrays)  # results without a type: the evaluator's
        for value, array in zip(item.inputs, arrays, strict=True):
            value.data = array
        item.output.dtype, item.output.shape = NUMPY_RULES[op].infer(item)[0]
        got = reference.evaluate(item, arrays)[: len(want)]
        assert [(g.dtype, g.shape) for g in got] == [(w.dtype, w.shape) for w in want]
        for g, w in zip(got, want, strict=True):
            np.testing.assert_array_equal(g.astype(np.float64), w.astype(np.float64))


def test_negative_pads_cut() -> None:
    """onnx.reference refuses them."""
    item = node("Pad", A, np.array([-1, 1, -2, 3, 0, 1]))
    item.inputs[1].data = np.array([-1, 1, -2, 3, 0, 1])
    item.output.dtype, item.output.shape = NUMPY_RULES["Pad"].infer(item)[0]
    (got,) = reference.evaluate(item, [A, item.inputs[1].data])
    np.testing.assert_array_equal(got, np.pad(A[1:, :, 2:], [(0, 3), (1, 0), (0, 1)]))


def test_prepared_node_runs_more_than_once() -> None:
    x = np.array([-1, 0, 2], np.float32)
    kernel = reference.prepare(node("Elu", x, alpha=2.0))
    for scale in (1, 3):
        (got,) = kernel([x * scale])
        want = np.where(x > 0, x * scale, 2 * np.expm1(x * scale))
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_absent_inputs() -> None:
    x = np.array([-5, 0, 5], np.float32)
    item = node("Clip", x)
    item.inputs += [None, Value("high", F32, ())]
    (got,) = reference.evaluate(item, [x, None, np.float32(1)])
    np.testing.assert_array_equal(got, [-5, 0, 1])


def test_unknown_operator() -> None:
    with pytest.raises(UnsupportedError, match=r"^node 'n' \(com\.microsoft\.NoSuchOp\): "):
        reference.evaluate(node("NoSuchOp", np.zeros(1), domain="com.microsoft"), [np.zeros(1)])


def test_refused_operands() -> None:
    a, b = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(InvalidModelError, match=r"^node 'n' \(MatMul\): cannot be evaluated: "):
        reference.evaluate(node("MatMul", a, b), [a, b])
    with pytest.raises(InvalidModelError, match=r"^node 'n' \(MatMul\): shapes do not fit: "):
        reference.infer(node("MatMul", a, b))


def test_gather_outside() -> None:
    item = node("Gather", np.arange(3), np.array([3]))
    item.output.dtype, item.output.shape = np.dtype(np.int64), (1,)
    with pytest.raises(InvalidModelError, match=r"an index is out of range for 3 elements"):
        reference.evaluate(item, [np.arange(3), np.array([3])])
