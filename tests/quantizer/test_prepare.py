"""The float model before it is quantised: simpler, and the same function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from float_models import floats, model, network, node
from onnx import TensorProto, helper, numpy_helper

from luthier.errors import UnsupportedError
from luthier.onnx_frontend.quantize import Editor, equalize, prepare, save

IMAGE = {"x": ["n", 4, 8, 8]}
MAPS = {"y": ["n", "c", "h", "w"]}


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs by ONNX Runtime without optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def prepared(proto: onnx.ModelProto, rtol: float = 1e-5) -> tuple[Editor, list[str]]:
    """The editor and its operators; checks that the function stayed."""
    editor = prepare(proto.SerializeToString())
    onnx.checker.check_model(editor.model(), full_check=True)
    shape = [d.dim_value or 2 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    name = proto.graph.input[0].name
    for mine, theirs in zip(run(editor.model(), {name: x}), run(proto, {name: x}), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())
    return editor, [n.op_type for n in editor.nodes]


def test_batch_norms_and_factors_go_into_weights() -> None:
    weights = {
        "w": floats(6, 4, 3, 3),
        "s": np.abs(floats(6)),
        "b": floats(6),
        "m": floats(6),
        "v": np.abs(floats(6)) + 0.1,
        "k": floats(6, 1, 1),
        "c": floats(1, 6, 1, 1),
        "t": floats(6, 2, 2, 2),
    }
    nodes = [
        node("Conv", "x w", "a"),
        node("BatchNormalization", "a s b m v", "d"),
        node("Mul", "k d", "e"),
        node("Add", "e c", "f"),
        node("Identity", "f", "g"),
        node("ConvTranspose", "g t", "h", group=2),
        node("Mul", "h two", "y"),
    ]
    weights["two"] = np.array([2.0], np.float32)
    editor, ops = prepared(model(nodes, weights, IMAGE, MAPS))
    assert ops == ["Conv", "ConvTranspose"]
    assert [n.output[0] for n in editor.nodes] == ["f", "y"]
    assert editor.nodes[0].name == "Conv_a"


def test_what_others_read_stays() -> None:
    """A result with two readers, or that is an output, keeps its value."""
    weights = {"w": floats(4, 4, 1, 1), "k": floats(4, 1, 1)}
    nodes = [
        node("Conv", "x w", "a"),
        node("Mul", "a k", "b"),
        node("Add", "a b", "c"),
        node("Conv", "c w", "y"),
        node("Mul", "y k", "z"),
    ]
    outputs = {**MAPS, "z": ["n", "c", "h", "w"]}
    assert prepared(model(nodes, weights, IMAGE, outputs))[1] == [n.op_type for n in nodes]


def test_numbers_that_would_overflow_stay() -> None:
    weights = {"w": floats(4, 4, 1, 1), "k": np.full((4, 1, 1), 1e38, np.float32)}
    nodes = [node("Conv", "x w", "a"), node("Mul", "a k", "b"), node("Mul", "b k", "y")]
    editor = prepare(model(nodes, weights, IMAGE, MAPS).SerializeToString())
    assert [n.op_type for n in editor.nodes][-1] == "Mul"
    assert all(np.isfinite(c).all() for c in editor.constants.values())


@pytest.mark.parametrize("trans", [0, 1])
def test_gemm_takes_alpha_beta_and_addends(trans: int) -> None:
    weights = {"w": floats(5, 7) if trans else floats(7, 5), "b": floats(5), "c": floats(1, 5)}
    nodes = [
        node("Gemm", "x w b", "a", alpha=0.5, beta=2.0, transB=trans),
        node("Add", "a c", "y"),
    ]
    editor, ops = prepared(model(nodes, weights, {"x": ["n", 7]}, {"y": ["n", 5]}))
    assert ops == ["Gemm"]
    assert [a.name for a in editor.nodes[0].attribute] == ["transB"]


def test_constants_are_folded() -> None:
    weights = {"w": floats(4 * 6), "shape": np.array([4, 6]), "perm": floats(1)}
    nodes = [
        node("Constant", "", "two", value_float=2.0),
        node("Mul", "w two", "doubled"),
        node("Reshape", "doubled shape", "matrix"),
        node("Transpose", "matrix", "turned", perm=[1, 0]),
        node("Gemm", "x turned", "y"),
    ]
    assert prepared(model(nodes, weights, {"x": ["n", 6]}, {"y": ["n", 4]}))[1] == ["Gemm"]


@pytest.mark.parametrize(
    "nodes",
    [
        [("Add", "x three", "a"), ("Clip", "a zero six", "c"), ("Mul", "x c", "p"),
         ("Div", "p six", "y")],
        [("Add", "three x", "a"), ("Clip", "a zero six", "c"), ("Div", "c six", "p"),
         ("Mul", "p x", "y")],
        [("Add", "three x", "a"), ("Clip", "a zero six", "c"), ("Mul", "sixth c", "p"),
         ("Mul", "x p", "y")],
        [("HardSigmoid", "x", "s"), ("Mul", "x s", "y")],
    ],
)  # fmt: skip
def test_hard_swish_is_named(nodes: list[tuple[str, str, str]]) -> None:
    numbers = {"three": 3, "zero": 0, "six": 6, "sixth": 1 / 6}
    made = [
        node(op, i, o, **({"alpha": 1 / 6} if op == "HardSigmoid" else {})) for op, i, o in nodes
    ]
    weights = {k: np.float32(v) for k, v in numbers.items()}
    editor, ops = prepared(model(made, weights, IMAGE, MAPS))
    assert ops == ["HardSwish"]
    assert list(editor.nodes[0].output) == ["y"]


def test_what_is_almost_hard_swish_stays() -> None:
    weights = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)}
    nodes = [
        node("Add", "x three", "a"),
        node("Clip", "a zero six", "c"),
        node("Mul", "x c", "y"),
    ]
    assert prepared(model(nodes, weights, IMAGE, MAPS))[1] == ["Add", "Clip", "Mul"]


def test_old_models_become_opset_14() -> None:
    """Weights that are also inputs, Clip's attributes, and a Dropout of opset 8."""
    proto = helper.make_model(
        helper.make_graph(
            [
                node("Conv", "x w", "a", kernel_shape=[1, 1]),
                node("Clip", "a", "b", min=0.0, max=6.0),
                node("Dropout", "b", "c"),
                node("GlobalAveragePool", "c", "y"),
            ],
            "old",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8]),
                helper.make_tensor_value_info("w", TensorProto.FLOAT, [6, 4, 1, 1]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 1, 1])],
            [numpy_helper.from_array(floats(6, 4, 1, 1), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 8)],
        ir_version=3,
    )
    editor, ops = prepared(proto)
    assert (ops, editor.opset, editor.inputs) == (["Conv", "Clip", "GlobalAveragePool"], 14, ["x"])


def test_quantised_models_are_refused() -> None:
    weights = {"s": np.float32(1), "z": np.uint8(0)}
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    with pytest.raises(UnsupportedError, match=r"'QuantizeLinear_q' .*quantised already"):
        prepare(model(nodes, weights, IMAGE, MAPS).SerializeToString())


def test_external_data_are_taken_in(tmp_path: Path) -> None:
    proto = network()
    path = tmp_path / "net.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    editor = prepare(path)
    size = save(editor, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").stat().st_size == size
    x = np.ones((1, 3, 12, 12), np.float32)
    for mine, theirs in zip(
        run(onnx.load(tmp_path / "out.onnx"), {"x": x}), run(proto, {"x": x}), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_weights_beyond_the_file_format_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prepare.__globals__, "MAX_BYTES", 1000)
    with pytest.raises(UnsupportedError, match="more than 2 GB"):
        prepare(network().SerializeToString())


def test_equalising_keeps_the_function_and_evens_ranges() -> None:
    """Relu between; depthwise in the middle; channels of very different ranges, one dead."""
    uneven = np.logspace(-2, 2, 6).astype(np.float32)
    w1 = floats(6, 4, 1, 1) * uneven.reshape(-1, 1, 1, 1)
    w1[3] = 0
    weights = {
        "w1": w1,
        "b1": floats(6),
        "w2": floats(6, 1, 3, 3),
        "w3": floats(5, 6, 1, 1) / uneven.reshape(1, -1, 1, 1),
    }
    nodes = [
        node("Conv", "x w1 b1", "a"),
        node("Relu", "a", "b"),
        node("Conv", "b w2", "c", group=6),
        node("Conv", "c w3", "y"),
    ]
    proto = model(nodes, weights, IMAGE, MAPS)
    editor = prepare(proto.SerializeToString())
    assert equalize(editor) == 2
    x = floats(2, 4, 8, 8)
    (mine,), (theirs,) = run(editor.model(), {"x": x}), run(proto, {"x": x})
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())

    def spread(name: str) -> float:
        ranges = np.abs(editor.constants[name]).reshape(6, -1).max(axis=1)
        return float(ranges[ranges > 0].max() / ranges[ranges > 0].min())

    assert spread(editor.nodes[0].input[1]) < 30 < spread("w1")


def test_equalising_makes_a_clip_a_relu_only_between_pairs() -> None:
    weights = {"w": floats(4, 4, 1, 1), "lo": np.float32(0), "hi": np.float32(6)}
    nodes = [
        node("Conv", "x w", "a"),
        node("Clip", "a lo hi", "b"),
        node("Conv", "b w", "c"),
        node("Clip", "c lo hi", "y"),
    ]
    editor = prepare(model(nodes, weights, IMAGE, MAPS).SerializeToString())
    assert equalize(editor) == 1
    assert [n.op_type for n in editor.nodes] == ["Conv", "Relu", "Conv", "Clip"]
