"""What quantised models look like."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from float_models import floats, model, network, node
from onnx import helper

from luthier.errors import ArgumentError
from luthier.onnx_frontend.quantize import (
    FORMATS,
    Quantized,
    activation_params,
    prepare,
    quantize_alone,
    select,
    write,
)

IMAGE = {"x": ["n", 4, 8, 8]}
MAPS = {"y": ["n", "c", "h", "w"]}


def quantized(
    proto: onnx.ModelProto, form: str, exclude: tuple[str, ...] = (), per_channel: bool = True
) -> Quantized:
    """The model with every range from -1 to 3; checked by ONNX."""
    editor = prepare(proto.SerializeToString())
    chosen = select(editor, exclude)
    params = {n: activation_params(-1, 3, np.dtype(np.uint8)) for n in chosen.calibrated()}
    done = write(editor, chosen, params, form=form, per_channel=per_channel)
    onnx.checker.check_model(done.editor.model(), full_check=True)
    return done


def text(done: Quantized) -> list[str]:
    """One line a node: results, operator, operands."""
    return [f"{' '.join(n.output)} = {n.op_type}({', '.join(n.input)})" for n in done.editor.nodes]


@pytest.fixture
def small() -> onnx.ModelProto:
    weights = {"w": floats(4, 4, 1, 1), "b": floats(4), "m": floats(4, 5)}
    nodes = [
        node("Conv", "x w b", "c"),
        node("Relu", "c", "r"),
        node("Add", "r r", "a"),
        node("GlobalAveragePool", "a", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f m", "y"),
    ]
    return model(nodes, weights, IMAGE, {"y": ["n", 5]})


def test_qdq(small: onnx.ModelProto) -> None:
    """Relu is the bounds of r, f has the scale of g, and the output keeps its name."""
    assert text(quantized(small, "qdq")) == [
        "x_quantized = QuantizeLinear(x, x_scale, x_zero_point)",
        "x_dequantized = DequantizeLinear(x_quantized, x_scale, x_zero_point)",
        "w_dequantized = DequantizeLinear(w_quantized, w_scale, w_zero_point)",
        "b_dequantized = DequantizeLinear(b_quantized, b_scale, b_zero_point)",
        "c = Conv(x_dequantized, w_dequantized, b_dequantized)",
        "r_quantized = QuantizeLinear(c, r_scale, r_zero_point)",
        "r_dequantized = DequantizeLinear(r_quantized, r_scale, r_zero_point)",
        "a = Add(r_dequantized, r_dequantized)",
        "a_quantized = QuantizeLinear(a, a_scale, a_zero_point)",
        "a_dequantized = DequantizeLinear(a_quantized, a_scale, a_zero_point)",
        "g = GlobalAveragePool(a_dequantized)",
        "g_quantized = QuantizeLinear(g, g_scale, g_zero_point)",
        "g_dequantized = DequantizeLinear(g_quantized, g_scale, g_zero_point)",
        "f = Flatten(g_dequantized)",
        "f_quantized = QuantizeLinear(f, g_scale, g_zero_point)",
        "f_dequantized = DequantizeLinear(f_quantized, g_scale, g_zero_point)",
        "m_dequantized = DequantizeLinear(m_quantized, m_scale, m_zero_point)",
        "y_raw = MatMul(f_dequantized, m_dequantized)",
        "y_quantized = QuantizeLinear(y_raw, y_scale, y_zero_point)",
        "y = DequantizeLinear(y_quantized, y_scale, y_zero_point)",
    ]


def test_qoperator(small: onnx.ModelProto) -> None:
    x, r, a, g, y = ((f"{n}_scale, {n}_zero_point") for n in "xragy")
    w, m = ((f"{n}_quantized, {n}_scale, {n}_zero_point") for n in "wm")
    assert text(quantized(small, "qoperator")) == [
        f"x_quantized = QuantizeLinear(x, {x})",
        f"r_quantized = QLinearConv(x_quantized, {x}, {w}, {r}, b_quantized)",
        f"a_quantized = QLinearAdd(r_quantized, {r}, r_quantized, {r}, {a})",
        f"g_quantized = QLinearGlobalAveragePool(a_quantized, {a}, {g})",
        "f_quantized = Flatten(g_quantized)",
        f"y_quantized = QLinearMatMul(f_quantized, {g}, {m}, {y})",
        f"y = DequantizeLinear(y_quantized, {y})",
    ]


def test_layers_alone() -> None:
    """Each layer has a quantised twin on float inputs; the float model is all there."""
    weights = {"w": floats(4, 4, 1, 1)}
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Add", "r x", "y")]
    editor = prepare(model(nodes, weights, IMAGE, MAPS).SerializeToString())
    chosen = select(editor)
    params = {n: activation_params(-1, 3, np.dtype(np.uint8)) for n in chosen.calibrated()}
    done = quantize_alone(editor, chosen, params)
    assert done.real == {"r": "r_alone_dequantized", "y": "y_alone_dequantized"}
    assert text(done) == [
        "c = Conv(x, w)",
        "x_quantized = QuantizeLinear(x, x_scale, x_zero_point)",
        "x_dequantized = DequantizeLinear(x_quantized, x_scale, x_zero_point)",
        "w_dequantized = DequantizeLinear(w_quantized, w_scale, w_zero_point)",
        "r_alone = Conv(x_dequantized, w_dequantized)",
        "r_alone_quantized = QuantizeLinear(r_alone, r_scale, r_zero_point)",
        "r_alone_dequantized = DequantizeLinear(r_alone_quantized, r_scale, r_zero_point)",
        "r = Relu(c)",
        "y = Add(r, x)",
        "r_quantized = QuantizeLinear(r, r_scale, r_zero_point)",
        "r_dequantized = DequantizeLinear(r_quantized, r_scale, r_zero_point)",
        "y_alone = Add(r_dequantized, x_dequantized)",
        "y_alone_quantized = QuantizeLinear(y_alone, y_scale, y_zero_point)",
        "y_alone_dequantized = DequantizeLinear(y_alone_quantized, y_scale, y_zero_point)",
    ]


def test_what_is_stored(small: onnx.ModelProto) -> None:
    """Weights from -127 to 127 with a scale each, biases in units of the product of scales."""
    done = quantized(small, "qdq").editor
    source = prepare(small.SerializeToString()).constants
    stored, scale = done.constants["w_quantized"], done.constants["w_scale"]
    assert (stored.dtype, scale.shape, np.abs(stored).max()) == (np.int8, (4,), 127)
    real = stored * scale.reshape(-1, 1, 1, 1)
    assert (np.abs(real - source["w"]) <= scale.reshape(-1, 1, 1, 1) * 0.501).all()
    np.testing.assert_array_equal(
        done.constants["b_scale"], done.constants["x_scale"] * scale, strict=True
    )
    bias = done.constants["b_quantized"]
    assert bias.dtype == np.int32
    units = source["b"] / done.constants["b_scale"].astype(np.float64)
    np.testing.assert_array_equal(bias, np.rint(units))
    axes = {
        n.input[0]: helper.get_attribute_value(n.attribute[0])
        for n in done.nodes
        if n.op_type == "DequantizeLinear" and n.attribute
    }
    assert axes == {"w_quantized": 0, "b_quantized": 0, "m_quantized": 1}
    assert quantized(small, "qdq", per_channel=False).editor.constants["w_scale"].shape == ()


def test_a_bias_too_large_for_its_scale_widens_the_weights() -> None:
    """A dead channel of tiny weights and a large bias."""
    w = floats(2, 4, 1, 1)
    w[1] *= 1e-12
    bias = np.array([0.5, -3.0], np.float32)
    proto = model([node("Conv", "x w b", "y")], {"w": w, "b": bias}, IMAGE, MAPS)
    done = quantized(proto, "qdq").editor.constants
    np.testing.assert_allclose(done["b_quantized"] * done["b_scale"], bias, rtol=1e-4)


def test_excluded_nodes_and_what_follows(small: onnx.ModelProto) -> None:
    """Without the first layer nothing is int8 before the MatMul, not even the Flatten."""
    done = quantized(small, "qoperator", exclude=("Conv_c",))
    assert [n.op_type for n in done.editor.nodes] == (
        "Conv Relu Add GlobalAveragePool Flatten QuantizeLinear QLinearMatMul DequantizeLinear"
    ).split()
    done = quantized(small, "qoperator", exclude=("Relu_r",))
    assert [n.op_type for n in done.editor.nodes][1:4] == [
        "QLinearConv",
        "DequantizeLinear",
        "Relu",
    ]
    with pytest.raises(ArgumentError, match="no node 'nowhere' to exclude"):
        quantized(small, "qdq", exclude=("nowhere",))


@pytest.mark.parametrize("form", FORMATS)
def test_readers_of_both_kinds(form: str) -> None:
    """Float readers get the dequantised tensor, and an output inside the model its own name."""
    weights = {"w": floats(4, 4, 1, 1)}
    nodes = [node("Conv", "x w", "c"), node("Softmax", "c", "s"), node("Conv", "c w", "y")]
    outputs = {**MAPS, "c": ["n", "c", "h", "w"], "s": ["n", "c", "h", "w"]}
    lines = text(quantized(model(nodes, weights, IMAGE, outputs), form))
    assert "s = Softmax(c)" in lines
    assert "c = DequantizeLinear(c_quantized, c_scale, c_zero_point)" in lines
    assert sum("= QuantizeLinear(c_raw" in line for line in lines) == (form == "qdq")
    reads_weights = [line for line in lines if "(w_quantized" in line or " w_quantized" in line]
    assert len(reads_weights) == 2  # both layers share the stored weights


@pytest.mark.parametrize("form", FORMATS)
def test_bodies_read_floats(form: str) -> None:
    """What a body takes from around it keeps its name and meaning."""
    weights = {"w": floats(4, 4, 1, 1)}
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["c"], ["b"])],
            name,
            [],
            [helper.make_tensor_value_info("b", 1, ["n", 4, 8, 8])],
        )
        for name, op in (("then_branch", "Exp"), ("else_branch", "Neg"))
    }
    nodes = [
        node("Cast", "sum", "choice", to=onnx.TensorProto.BOOL),
        node("Conv", "x w", "c"),
        node("If", "choice", "y", **branches),
    ]
    done = quantized(model(nodes, weights, {**IMAGE, "sum": []}, MAPS), form)
    assert text(done)[-2:] == [
        "c = DequantizeLinear(c_quantized, c_scale, c_zero_point)",
        "y = If(choice)",
    ]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([("Conv", "x v", "y")], "weights that are no constant"),
        ([("Gemm", "q m", "y", {"transA": 1})], "a turned left side"),
        ([("MatMul", "x cube", "y")], "a stack of matrices"),
        ([("ConvTranspose", "x w", "y")], "no int8 form"),
        ([("Relu", "x", "y")], "no layer before it"),
        ([("Conv", "x nans", "y")], "weights that are not finite"),
    ],
)
def test_what_stays_float(nodes: list, reason: str) -> None:
    weights = {
        "w": floats(4, 4, 1, 1),
        "m": floats(8, 8),
        "cube": floats(4, 8, 8),
        "nans": np.full((4, 4, 1, 1), np.nan, np.float32),
    }
    inputs = {**IMAGE, "v": [4, 4, 1, 1], "q": [8, 8]}
    made = [node(op, i, o, **(rest[0] if rest else {})) for op, i, o, *rest in nodes]
    editor = prepare(model(made, weights, inputs, MAPS).SerializeToString())
    assert select(editor).nodes == {}, reason


def test_clamps_are_taken_over_only_where_bounds_can_do_their_work() -> None:
    weights = {"w": floats(4, 4, 1, 1), "one": np.float32(1), "five": np.float32(5)}
    nodes = [
        node("Conv", "x w", "a"),
        node("Clip", "a one five", "b"),  # zero lies outside
        node("Conv", "b w", "c"),
        node("Clip", "c - five", "d"),
        node("Conv", "d w", "e"),
        node("Relu", "e", "f"),  # e has another reader
        node("Add", "e f", "y"),
    ]
    chosen = select(prepare(model(nodes, weights, IMAGE, MAPS).SerializeToString()))
    assert chosen.clamps == {"Clip_d"}
    assert {"a", "b", "d", "e", "f"} <= chosen.tensors.keys() and "c" not in chosen.tensors


def test_moved_tensors_share_a_scale() -> None:
    chosen = select(prepare(network().SerializeToString()))
    assert {n: s for n, s in chosen.tensors.items() if n != s} == {
        "p3": "h3", "x3": "h3", "z4": "k4", "f4": "g4", "e4": "d4",
    }  # fmt: skip
