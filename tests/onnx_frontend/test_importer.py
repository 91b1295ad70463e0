"""Good models: what a graph holds after it was read."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import INT64, model, node, run

from luthier.errors import ArgumentError, InvalidModelError
from luthier.onnx_frontend import load, load_tensor, save_tensor

X = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)


def test_inputs_and_weights(tmp_path: Path) -> None:
    """Initializers that are also declared as inputs are constants; shapes keep their symbols."""
    w = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1)
    proto = model([node("Conv", "x w", name="")], {"x": ["N", 2, None, "?"], "w": w.shape})
    proto.graph.initializer.append(numpy_helper.from_array(w, "w"))
    path = tmp_path / "some.onnx"
    path.write_bytes(proto.SerializeToString())
    graph = load(path)
    assert graph.name == "some.onnx"
    assert [(v.name, v.dtype, v.shape) for v in graph.inputs] == [
        ("x", np.float32, ("N", 2, None, None))
    ]
    (conv,) = graph.nodes
    assert (conv.op, conv.name, conv.output.producer) == ("Conv", "y", conv)
    np.testing.assert_array_equal(conv.inputs[1].data, w)
    assert not conv.inputs[1].data.flags.writeable


def test_unknown_sizes_are_none() -> None:
    graph = load(model([node("Relu", "x")], {"x": [-1, 0, 3, ""]}).SerializeToString())
    assert graph.inputs[0].shape == (None, None, 3, None)


@pytest.mark.parametrize(
    ("attrs", "want"),
    [
        ({"value": numpy_helper.from_array(np.eye(2))}, np.eye(2)),
        ({"value_float": 1.5}, np.array(1.5, np.float32)),
        ({"value_floats": [1.5, 2.5]}, np.array([1.5, 2.5], np.float32)),
        ({"value_int": 3}, np.array(3)),
        ({"value_ints": [3, 4]}, np.array([3, 4])),
        ({"value_string": "a"}, np.array("a", object)),
    ],
)
def test_constant_nodes(attrs: dict[str, object], want: np.ndarray) -> None:
    """A Constant node leaves a constant, no node."""
    graph = load(model([node("Constant", "", **attrs)]).SerializeToString())
    assert graph.nodes == []
    (value,) = graph.outputs
    assert value.data is not None
    assert (value.dtype, value.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(value.data, want)


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "float64",
        "int8",
        "uint16",
        "bool",
        "complex64",
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.int4,
        ml_dtypes.uint4,
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_element_types(dtype: object, raw: bool) -> None:
    """Weights of every width, as raw bytes and in the typed fields."""
    want = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(want.dtype)
    tensor = numpy_helper.from_array(want, "w")
    if not raw:
        tensor = helper.make_tensor("w", kind, want.shape, want.reshape(-1).tolist())
    proto = model([node("Identity", "w")])
    proto.graph.initializer.append(tensor)
    value = load(proto.SerializeToString()).nodes[0].inputs[0]
    assert value.dtype == want.dtype
    np.testing.assert_array_equal(value.data.astype(np.complex64), want.astype(np.complex64))


def test_names_are_unique() -> None:
    """Equal names of nodes and outputs without names get new ones."""
    nodes = [
        node("Relu", "x", "a", name="same"),
        node("MaxPool", "a", "p", name="same", kernel_shape=[2, 2]),
        node("Split", "p", "- y", name="same", axis=1, num_outputs=2),
    ]
    graph = load(model(nodes).SerializeToString())
    assert len({n.name for n in graph.nodes}) == 3
    names = [v.name for v in graph.values()]
    assert len(set(names)) == len(names)
    (got,) = run(graph, {"x": X})
    assert got.shape == (1, 1, 3, 3)


def test_foreign_domain_is_kept() -> None:
    item = helper.make_node(
        "QuantizeLinear", ["x", "s"], ["y"], domain="com.microsoft", name="q", axis=2
    )
    constants = {"s": np.array(0.5, np.float32)}
    imports = [helper.make_opsetid("com.microsoft", 1)]
    proto = model([item], constants=constants, imports=imports)
    (got,) = load(proto.SerializeToString()).nodes
    assert (got.domain, got.op, got.opset, got.attrs) == (
        "com.microsoft",
        "QuantizeLinear",
        1,
        {"axis": 2},
    )


def branch(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [helper.make_empty_tensor_value_info("r")])


def if_model() -> onnx.ModelProto:
    """y = x + a if max(x) > 0 else relu(x), where a = x * 2."""
    nodes = [
        node("Mul", "x two", "a", name="mul"),
        node("ReduceMax", "x", "m", name="max", keepdims=0),
        node("Greater", "m zero", "c", name="greater"),
        node(
            "If",
            "c",
            name="if",
            then_branch=branch([node("Add", "x a", "r")]),
            else_branch=branch([node("Mul", "x two", "t"), node("Relu", "t", "r", name="q")]),
        ),
    ]
    return model(nodes, constants={"two": np.float32([2]), "zero": np.array(0, np.float32)})


def test_captured_values_are_inputs() -> None:
    """What bodies read of the graph around them are the last inputs of node and bodies."""
    graph = load(if_model().SerializeToString())
    item = graph.nodes[-1]
    assert [v.name for v in item.inputs] == ["c", "x", "a"]
    assert item.attrs["captures"] == 2
    then, other = item.attrs["then_branch"], item.attrs["else_branch"]
    assert [v.name for v in then.inputs] == ["x", "a"]
    assert len(other.inputs) == 2
    assert other.inputs[0].name == "x"
    for sign in (1, -1):
        x = sign * np.abs(X)
        (got,) = run(graph, {"x": x})
        np.testing.assert_array_equal(got, x * 3 if sign > 0 else np.zeros_like(x))


def test_loop() -> None:
    """y = x doubled three times; the body captures a computed value."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Add", "v v", "w"), node("Add", "w z", "o"), node("Identity", "go", "on")],
        "body",
        [info("i", INT64, []), info("go", TensorProto.BOOL, []), info("v", 1, None)],
        [info("on", TensorProto.BOOL, []), info("o", 1, None)],
    )
    nodes = [node("Sub", "x x", "z", name="zero"), node("Loop", "count - x", name="l", body=body)]
    graph = load(model(nodes, constants={"count": np.array(3)}).SerializeToString())
    (got,) = run(graph, {"x": X})
    np.testing.assert_allclose(got, X * 8, rtol=1e-6)


class TestVectors:
    """Stored tensors."""

    @pytest.mark.parametrize(
        "array", [X, X[:, :, ::2], np.array(3), np.array([], np.int8), np.float16([[1], [2]])]
    )
    def test_round_trip(self, tmp_path: Path, array: np.ndarray) -> None:
        save_tensor(tmp_path / "t.pb", array, "name")
        got = load_tensor(tmp_path / "t.pb")
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(got, array)

    def test_bad_files(self, tmp_path: Path) -> None:
        path = tmp_path / "t.pb"
        with pytest.raises(ArgumentError, match=r"^cannot read .*t\.pb'"):
            load_tensor(path)
        path.touch()
        with pytest.raises(InvalidModelError, match=r"^t\.pb: holds no tensor$"):
            load_tensor(path)
        save_tensor(path, X)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InvalidModelError, match=r"^t\.pb: "):
            load_tensor(path)
