"""Untrusted files: every kind of damage is one clear error."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import FLOAT, model, node

from luthier.errors import ArgumentError, InvalidModelError, LuthierError, UnsupportedError
from luthier.graph import bind, default_shapes
from luthier.onnx_frontend import load

W = np.zeros((3, 2, 1, 1), np.float32)


def expect(error: type[LuthierError], message: str, proto: onnx.ModelProto) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        load(proto.SerializeToString())
    text = str(caught.value)
    assert text.startswith("model: ")
    assert "\n" not in text


def relu() -> onnx.ModelProto:
    return model([node("Relu", "x")])


@pytest.mark.parametrize("data", [b"not a model at all", b"\x00" * 40, b"\x08\x07\x3a\xff\xff"])
def test_other_files(data: bytes) -> None:
    with pytest.raises(InvalidModelError, match=r"^model: (not an ONNX model|holds no ONNX graph)"):
        load(data)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    with pytest.raises(InvalidModelError, match=r"^empty\.onnx: the file is empty$"):
        load(path)


def test_cut_short() -> None:
    data = model([node("Conv", "x w")], constants={"w": W}).SerializeToString()
    with pytest.raises(InvalidModelError, match=r"^model: not an ONNX model, or cut short$"):
        load(data[:-8])


@pytest.mark.parametrize("name", ["missing.onnx", ".", "bad\0name"])
def test_unreadable(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match=r"^cannot read "):
        load(tmp_path / name)


def edit_initializer(change: Callable[[TensorProto], object]) -> onnx.ModelProto:
    proto = model([node("Conv", "x w")], constants={"w": W})
    change(proto.graph.initializer[0])
    return proto


def _dims(*dims: int) -> Callable[[TensorProto], object]:
    def change(tensor: TensorProto) -> None:
        del tensor.dims[:]
        tensor.dims.extend(dims)

    return change


def _typed_field(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0, 2.0])


def _external(location: str, **more: str) -> Callable[[TensorProto], object]:
    def change(tensor: TensorProto) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_dims(1 << 40, 1 << 40), "is too large"),
        (_dims(1 << 20, 3), "needs 12582912 bytes, 24 present"),
        (_dims(3, -2), "negative dimension in [3, -2]"),
        (_dims(*[1] * 9), "9 dimensions, at most 8"),
        (_dims(3), "needs 12 bytes, 24 present"),
        (_typed_field, "needs 6 entries, 2 present"),
        (lambda t: setattr(t, "data_type", 99), "unknown element type 99"),
        (lambda t: setattr(t, "data_type", TensorProto.STRING), "strings as raw data"),
        (_external("weights.bin"), "external data in a model that is not a file"),
    ],
)
def test_initializers(change: Callable[[TensorProto], object], message: str) -> None:
    expect(InvalidModelError, message, edit_initializer(change))


def test_segments_and_sparse() -> None:
    proto = edit_initializer(lambda t: setattr(t.segment, "begin", 0))
    expect(UnsupportedError, "initializer 'w': segmented tensors are not supported", proto)
    proto = relu()
    proto.graph.sparse_initializer.add()
    expect(UnsupportedError, "sparse initializers are not supported", proto)


class TestExternalData:
    """Data in files beside the model."""

    def write(self, folder: Path, location: str, **more: str) -> Path:
        path = folder / "m.onnx"
        path.write_bytes(edit_initializer(_external(location, **more)).SerializeToString())
        return path

    def test_is_read(self, tmp_path: Path) -> None:
        data = np.arange(8, dtype=np.float32)
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "w.bin").write_bytes(data.tobytes())
        graph = load(self.write(tmp_path, "deep/w.bin", offset="8", length="24"))
        weight = graph.nodes[0].inputs[1]
        np.testing.assert_array_equal(weight.data.reshape(-1), data[2:])
        assert not weight.data.flags.writeable

    def test_unaligned(self, tmp_path: Path) -> None:
        data = np.arange(6, dtype=np.float32)
        (tmp_path / "w.bin").write_bytes(b"!" + data.tobytes())
        weight = load(self.write(tmp_path, "w.bin", offset="1")).nodes[0].inputs[1]
        np.testing.assert_array_equal(weight.data.reshape(-1), data)
        assert weight.data.flags.aligned

    @pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "", "a/../../secret", "s"])
    def test_outside(self, tmp_path: Path, location: str) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (tmp_path / "secret").write_bytes(bytes(24))
        (folder / "s").symlink_to(tmp_path / "secret")
        with pytest.raises(InvalidModelError, match="lie outside the model's folder"):
            load(self.write(folder, location))

    @pytest.mark.parametrize(
        "more", [{"offset": "-4"}, {"offset": "4"}, {"length": "8"}, {"offset": "x"}]
    )
    def test_bounds(self, tmp_path: Path, more: dict[str, str]) -> None:
        (tmp_path / "w.bin").write_bytes(bytes(24))
        with pytest.raises(InvalidModelError, match=r"^m\.onnx: initializer 'w': "):
            load(self.write(tmp_path, "w.bin", **more))

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidModelError, match=r"no external data file 'w\.bin'"):
            load(self.write(tmp_path, "w.bin"))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Relu", "z")], "node 'n' (Relu): reads 'z', which is not defined"),
        ([node("Relu", "y")], "node 'n' (Relu): reads 'y', which is computed later"),
        ([node("Relu", "x"), node("Abs", "x", name="m")], "'y' is defined twice"),
        ([node("Relu", "x", "x"), node("Relu", "x")], "'x' is defined twice"),
        ([node("Relu", "x", "z")], "output 'y' is not computed by any node"),
        ([node("Relu", "x x")], "node 'n' (Relu): has 2 inputs, the operator has 1"),
        ([node("Relu", "x", "y z")], "has 2 outputs, the operator has 1"),
        ([node("Conv", "x - x")], "node 'n' (Conv): input 1 (W) is missing"),
        ([node("Relu", "x", alpha=1.0)], "unknown attribute 'alpha'"),
        ([node("Concat", "x x")], "attribute 'axis' is missing"),
        ([node("Concat", "x x", axis=1.0)], "attribute 'axis' is FLOAT, must be INT"),
        ([node("Not", "x")], "input 0 (X) may not be float32"),
        (
            [node("Cast", "x", "i", to=7), node("Shape", "x", "s"), node("Add", "x s")],
            "input 1 (B) is int64 where float32 is needed",
        ),
        ([node("Constant", "")], "needs exactly one value"),
        ([helper.make_node("Relu", ["x"], ["y"], domain="no.such")], "imports no opset"),
    ],
)
def test_nodes(nodes: list[onnx.NodeProto], message: str) -> None:
    expect(InvalidModelError, message, model(nodes))


def test_duplicates() -> None:
    proto = relu()
    proto.graph.input.append(proto.graph.input[0])
    expect(InvalidModelError, "input 'x' is declared twice", proto)
    proto = edit_initializer(lambda t: None)
    proto.graph.initializer.append(proto.graph.initializer[0])
    expect(InvalidModelError, "initializer 'w' is defined twice", proto)
    proto = relu()
    proto.graph.output.append(proto.graph.output[0])
    expect(InvalidModelError, "output 'y' is declared twice", proto)
    proto = relu()
    proto.graph.node[0].attribute.extend([helper.make_attribute("a", 1)] * 2)
    expect(InvalidModelError, "attribute 'a' is repeated", proto)


def test_not_utf8() -> None:
    data = model([node("Relu", "x", name="NAME")]).SerializeToString()
    with pytest.raises(InvalidModelError, match=r"^model: a name is not UTF-8 text$"):
        load(data.replace(b"NAME", b"\xff\xfe\xfd\xfc"))


def test_long_and_odd_names_stay_on_one_line() -> None:
    expect(InvalidModelError, r"node 'a\nb' (Relu)", model([node("Relu", "z", name="a\nb")]))
    with pytest.raises(InvalidModelError) as caught:
        load(model([node("Relu", "q" * 10_000)]).SerializeToString())
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("opset", [1, 6, 999])
def test_opset(opset: int) -> None:
    expect(
        UnsupportedError, f"opset {opset} is not supported", model([node("Relu", "x")], opset=opset)
    )


def test_opset_missing_or_twice() -> None:
    proto = relu()
    del proto.opset_import[:]
    expect(InvalidModelError, "imports no opset of domain ''", proto)
    proto = relu()
    proto.opset_import.add(domain="ai.onnx", version=13)
    expect(InvalidModelError, "two opset versions for domain ''", proto)


def test_unsupported_nodes_are_listed_together() -> None:
    nodes = [
        node("NoSuchOp", "x", "a", name="first"),
        node("SequenceConstruct", "a", "b", name="second"),
        helper.make_node("Odd", ["b"], ["y"], name="third", domain="my.domain"),
    ]
    proto = model(nodes, imports=[helper.make_opsetid("my.domain", 1)])
    with pytest.raises(UnsupportedError) as caught:
        load(proto.SerializeToString())
    for part in ("'first' (NoSuchOp)", "'second' (SequenceConstruct)", "'third' (my.domain.Odd)"):
        assert part in str(caught.value)


def test_inputs_that_are_no_tensors() -> None:
    proto = relu()
    proto.graph.input.append(helper.make_tensor_sequence_value_info("s", FLOAT, None))
    expect(UnsupportedError, "input 's' is a sequence, only tensors are known", proto)


def nested(depth: int) -> onnx.NodeProto:
    """An If whose branches hold an If, and so on."""
    inner = nested(depth - 1) if depth else node("Identity", "x")
    other = node("Identity", "x")
    return node("If", "c", then_branch=body([inner]), else_branch=body([other]))


def body(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    """A body whose result is ``y``."""
    return helper.make_graph(nodes, "body", [], [helper.make_empty_tensor_value_info("y")])


def test_nesting_is_bounded() -> None:
    constants = {"c": np.array(True)}
    proto = model([nested(5)], constants=constants)
    assert [n.op for n in load(proto.SerializeToString()).nodes] == ["If"]
    # beyond some depth the protobuf parser refuses first
    with pytest.raises(InvalidModelError, match=r"nest more than 16 deep|cut short"):
        load(model([nested(20)], constants=constants).SerializeToString())


class TestFunctions:
    """Local functions are inlined; their growth is bounded."""

    def functions(self, *bodies: tuple[str, list[str]]) -> onnx.ModelProto:
        imports = [helper.make_opsetid("", 21), helper.make_opsetid("f", 1)]
        protos = []
        for name, calls in bodies:
            names = ["x", *(f"t{i}" for i in range(1, len(calls))), "y"]
            nodes = [
                helper.make_node(op, [a], [b], domain="" if op == "Relu" else "f")
                for op, a, b in zip(calls, names[:-1], names[1:], strict=True)
            ]
            protos.append(helper.make_function("f", name, ["x"], ["y"], nodes, imports))
        call = helper.make_node(bodies[0][0], ["x"], ["y"], domain="f")
        return model([call], functions=protos, imports=imports[1:])

    def test_inlined(self) -> None:
        proto = self.functions(("twice", ["once", "once"]), ("once", ["Relu"]))
        assert [n.op for n in load(proto.SerializeToString()).nodes] == ["Relu", "Relu"]

    def test_recursion(self) -> None:
        proto = self.functions(("a", ["b"]), ("b", ["a"]))
        expect(InvalidModelError, "calls itself", proto)

    def test_growth(self) -> None:
        levels = [(f"f{i}", [f"f{i + 1}"] * 10) for i in range(8)]
        proto = self.functions(*levels, ("f8", ["Relu"]))
        expect(InvalidModelError, "more than 1000000 nodes after inlining", proto)


def small_model() -> bytes:
    """A model with most of what a file can hold, in about 1 kB."""
    branch = body([node("Mul", "h s", name="inner")])
    nodes = [
        node("Conv", "x w", "c", name="conv", pads=[0, 0, 0, 0], auto_pad="NOTSET"),
        node("Relu", "c", "h", name="relu"),
        node("Constant", "", "s", name="const", value_float=2.0),
        node("ReduceMax", "h", "m", name="max", keepdims=0),
        node("Greater", "m s", "g", name="greater"),
        node("If", "g", "i", name="if", then_branch=branch, else_branch=branch),
        node("Shape", "i", "shape", name="shape"),
        node("Gather", "shape zero", "n", name="gather"),
        node("Concat", "n minus", "target", name="concat", axis=0),
        node("Reshape", "i target", "y", name="reshape"),
    ]
    constants = {"w": W, "zero": np.array([0]), "minus": np.array([-1])}
    return model(nodes, {"x": ["N", 2, 4, 4]}, constants=constants).SerializeToString()


def test_small_model_is_valid() -> None:
    bound = bind(load(small_model()), {"x": (2, 2, 4, 4)})
    assert bound.outputs[0].shape == (2, 48)


def test_damaged_bytes() -> None:
    """Whatever bytes are lost or changed: a graph, or one of luthier's own errors on one line."""
    rng = random.Random(1)
    whole = small_model()
    accepted = refused = 0
    for _ in range(800):
        data = bytearray(whole)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        else:
            for _ in range(rng.choice([1, 1, 1, 2, 8])):
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            graph = load(bytes(data))
            bind(graph, default_shapes(graph))
            accepted += 1
        except LuthierError as error:
            assert "\n" not in str(error)
            refused += 1
    assert accepted and refused
