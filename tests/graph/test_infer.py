"""Binding: concrete shapes, folding, and what callers and models may get wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Builder

from luthier import limits
from luthier.errors import ArgumentError, InvalidModelError, UnsupportedError
from luthier.graph import bind, default_shapes
from luthier.graph.ir import Graph, Node, Value
from luthier.onnx_frontend import load, load_tensor

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)


def const(data: Any, dtype: Any = np.int64) -> Value:
    array = np.asarray(data, dtype)
    return Value(f"c{id(array)}", array.dtype, array.shape, array)


class Free:
    """A graph whose shapes are not inferred yet."""

    def __init__(self, **inputs: Any) -> None:
        self.graph = Graph(name="free.onnx")
        self.graph.inputs = [Value(k, F32, v) for k, v in inputs.items()]

    def __getitem__(self, name: str) -> Value:
        return next(v for v in self.graph.inputs if v.name == name)

    def op(self, op: str, *inputs: Value | None, outputs: int = 1, **attrs: Any) -> Any:
        count = len(self.graph.nodes)
        node = Node(op, list(inputs), [], attrs, f"{op.lower()}{count}", opset=21)
        node.outputs = [Value(f"v{count}_{i}", producer=node) for i in range(outputs)]
        self.graph.nodes.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def bind(self, result: Value, shapes: dict[str, Any], **values: np.ndarray) -> Graph:
        self.graph.outputs = [result]
        return bind(self.graph, shapes, values or None)


def test_shape_arithmetic_folds() -> None:
    """x.reshape(N, C, H * W) written with Shape, Gather, Mul and Concat leaves one Reshape."""
    free = Free(x=("N", "C", "H", "W"))
    shape = free.op("Shape", free["x"])
    n, c, h, w = (free.op("Gather", shape, const([i])) for i in range(4))
    target = free.op("Concat", n, c, free.op("Mul", h, w), axis=0)
    bound = free.bind(free.op("Reshape", free["x"], target), {"x": (2, 3, 5, 7)})
    (node,) = bound.nodes
    assert node.op == "Reshape"
    assert node.inputs[1].data.tolist() == [2, 3, 35]
    assert bound.outputs[0].shape == (2, 3, 35)


def test_the_graph_is_not_changed() -> None:
    """Nodes and values of the result are new, arrays are shared; binding again works."""
    free = Free(x=("N", 2))
    weight = const(np.ones((2, 3)), np.float32)
    result = free.op("MatMul", free["x"], weight)
    one = free.bind(result, {"x": (1, 2)})
    two = free.bind(result, {"x": (5, 2)})
    assert (one.outputs[0].shape, two.outputs[0].shape) == ((1, 3), (5, 3))
    assert free.graph.inputs[0].shape == ("N", 2)
    assert result.shape is None
    assert one.nodes[0] is not free.graph.nodes[0]
    assert one.nodes[0].inputs[1] is not weight
    assert one.nodes[0].inputs[1].data is weight.data
    assert one.outputs[0].producer is one.nodes[0]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"y": (3,)}, "input 'x': expected [N, 3, ?], got no shape"),
        ({"x": (1, 3), "y": (1,)}, "input 'x': expected [N, 3, ?], got [1, 3]"),
        ({"x": (1, 4, 5), "y": (1,)}, "input 'x': expected [N, 3, ?], got [1, 4, 5]"),
        ({"x": (1, 3, -5), "y": (1,)}, "got [1, 3, -5]"),
        ({"x": (1, 3, 5), "y": (2,)}, "input 'y': expected [N], got [2], but N is 1 in input 'x'"),
        ({"x": (1, 3, 5), "q": (1,)}, "free.onnx has no input 'q'; its inputs are 'x', 'y'"),
    ],
)
def test_wrong_shapes(shapes: dict[str, Any], message: str) -> None:
    free = Free(x=("N", 3, None), y=("N",))
    with pytest.raises(ArgumentError, match=re.escape(message)):
        free.bind(free.op("Relu", free["x"]), shapes)


def test_wrong_values() -> None:
    free = Free(x=(2,))
    with pytest.raises(ArgumentError, match=r"input 'x': expected float32, got int64"):
        free.bind(free.op("Relu", free["x"]), {}, x=np.arange(2))


def test_default_shapes() -> None:
    assert default_shapes(Free(x=("N", 3), y=(2,), z=()).graph) == {"x": (1, 3), "y": (2,), "z": ()}
    with pytest.raises(ArgumentError, match=r"--shape x=1,3,224,224$"):
        default_shapes(Free(x=("N", 3, "H", "W")).graph)
    with pytest.raises(ArgumentError, match=r"of unknown rank: give its size"):
        default_shapes(Free(x=None).graph)


def test_mismatch_names_file_node_and_reason() -> None:
    free = Free(x=(1, 4, 8, 8))
    result = free.op("Conv", free["x"], const(np.zeros((2, 3, 1, 1)), np.float32))
    message = "free.onnx: node 'conv0' (Conv): input has 4 channels, weight [2, 3, 1, 1]"
    with pytest.raises(InvalidModelError, match=f"^{re.escape(message)}"):
        free.bind(result, {})


def test_all_unknown_shapes_are_listed() -> None:
    """Two independent causes are both named; what only follows from them is not."""
    free = Free(x=(4,))
    found = free.op("NonZero", free["x"])
    odd = free.op("Compress", free["x"], free.op("Cast", free["x"], to=9))
    both = free.op("Concat", free.op("Cast", found, to=1), odd, axis=0)
    with pytest.raises(UnsupportedError) as caught:
        free.bind(both, {})
    text = str(caught.value)
    assert "(NonZero)" in text
    assert "(Compress)" in text
    assert "Concat" not in text


def test_values_make_shapes_known() -> None:
    """An input that a shape depends on can be bound by its content."""
    free = Free(x=(2, 6), shape=(2,))
    free["shape"].dtype = I64
    result = free.op("Reshape", free["x"], free["shape"])
    with pytest.raises(UnsupportedError, match=r"depends on the values of 'shape'"):
        free.bind(result, {})
    bound = free.bind(result, {}, shape=np.array([3, -1]))
    assert bound.outputs[0].shape == (3, 4)
    assert [v.name for v in bound.inputs] == ["x", "shape"]


class TestBounds:
    """A tiny file may not ask for a large allocation or a long computation."""

    def test_large_tensor(self) -> None:
        free = Free(x=(1,))
        result = free.op("Expand", free["x"], const([1 << 31, 1 << 31]))
        with pytest.raises(InvalidModelError, match=r"takes \d+ bytes, the limit is"):
            free.bind(result, {})

    def test_rank(self) -> None:
        free = Free(x=(1,))
        result = free.op("Reshape", free["x"], const([1] * (limits.MAX_RANK + 1)))
        with pytest.raises(InvalidModelError, match=r"output has 9 dimensions"):
            free.bind(result, {})

    def test_constant_of_shape_takes_no_memory(self) -> None:
        free = Free(x=(1,))
        size = limits.MAX_TENSOR_BYTES // 4
        big = free.op("ConstantOfShape", const([size]))
        bound = free.bind(free.op("Mul", big, free["x"]), {})
        data = bound.nodes[0].inputs[0].data
        assert data.shape == (size,)
        assert data.strides == (0,)

    @pytest.mark.parametrize(
        ("op", "operands"),
        [
            ("Tile", (const([1, 2]), const([1 << 28]))),
            ("Range", (const(0), const(1 << 28), const(1))),
        ],
    )
    def test_expansions_stay_nodes(self, op: str, operands: tuple[Value, ...]) -> None:
        free = Free(x=(1,))
        bound = free.bind(free.op(op, *operands), {})
        assert [n.op for n in bound.nodes] == [op]

    def test_operands_count_too(self) -> None:
        """A small result of a large constant is not computed here."""
        free = Free(x=(1,))
        big = free.op("ConstantOfShape", const([limits.FOLD_BYTES]))
        bound = free.bind(free.op("Slice", big, const([0]), const([1])), {})
        assert [n.op for n in bound.nodes] == ["Slice"]


def test_random_numbers_are_not_folded() -> None:
    free = Free(x=(1,))
    bound = free.bind(free.op("RandomUniformLike", const([1.0], np.float32)), {})
    assert [n.op for n in bound.nodes] == ["RandomUniformLike"]


def test_constant_graph_output() -> None:
    free = Free(x=(3, "W"))
    bound = free.bind(free.op("Shape", free["x"]), {"x": (3, 5)})
    assert bound.nodes == []
    assert bound.outputs[0].data.tolist() == [3, 5]


def branch(op: str, x: Value) -> Graph:
    node = Node(op, [x], [], name=f"in_{op}", opset=21)
    node.outputs = [Value("t", producer=node)]
    return Graph([x], node.outputs, [node], op)


class TestIf:
    """If with known and unknown conditions."""

    def build(
        self, condition: Callable[[Free], Value], then: str, other: str
    ) -> tuple[Free, Value]:
        free = Free(x=(2, "N"))
        attrs = {
            "then_branch": branch(then, Value("x", F32)),
            "else_branch": branch(other, Value("x", F32)),
            "captures": 1,
        }
        return free, free.op("If", condition(free), free["x"], **attrs)

    def known(self, free: Free) -> Value:
        rows = free.op("Gather", free.op("Shape", free["x"]), const(1))
        return free.op("Equal", rows, const(1))

    def open(self, free: Free) -> Value:
        return free.op("Cast", free.op("ReduceMax", free["x"], keepdims=0), to=9)

    @pytest.mark.parametrize(("width", "taken"), [(1, "Abs"), (4, "Neg")])
    def test_known(self, width: int, taken: str) -> None:
        """The branch taken replaces the node; the result keeps its name."""
        free, result = self.build(self.known, "Abs", "Neg")
        bound = free.bind(result, {"x": (2, width)})
        assert [n.op for n in bound.nodes] == [taken, "Identity"]
        assert bound.outputs[0].name == result.name
        assert bound.outputs[0].shape == (2, width)
        assert bound.nodes[0].inputs == bound.inputs

    def test_open(self) -> None:
        free, result = self.build(self.open, "Abs", "Neg")
        bound = free.bind(result, {"x": (2, 4)})
        assert bound.nodes[-1].op == "If"
        assert bound.nodes[-1].attrs["then_branch"].outputs[0].shape == (2, 4)
        assert bound.outputs[0].shape == (2, 4)

    def test_open_with_different_shapes(self) -> None:
        free, result = self.build(self.open, "Abs", "Transpose")
        with pytest.raises(
            UnsupportedError, match=r"\(If\): the branches give results of different"
        ):
            free.bind(result, {"x": (2, 4)})

    def test_branch_that_does_not_fit(self) -> None:
        """A branch that is wrong for these shapes is never taken."""
        free, result = self.build(self.open, "Abs", "GlobalMaxPool")
        assert free.bind(result, {"x": (2, 4)}).outputs[0].shape == (2, 4)


def test_handmade_builder_agrees() -> None:
    """Binding a graph that is concrete already changes no type."""
    builder = Builder()
    x = builder.input("x", 1, 3, 8, 8)
    y = builder.op("Relu", builder.op("Conv", x, builder.weight(4, 3, 3, 3), pads=[1, 1, 1, 1]))
    builder.graph.outputs = [y]
    bound = bind(builder.graph, {})
    assert [v.shape for v in bound.values()] == [v.shape for v in builder.graph.values()]


REAL = """
basic_pitch_nmp centerface_dyn mnist12 mobilenet_v2_qdq_u8s8_pc mobilenet_v2_qop_u8s8_pc
mobilenet_v2_real_ts13 pplcnet_orientation ppocrv2_cls ppocrv4_det ppocrv4_rec
silero_vad_16k_sequence silero_vad_v6 squeezenet_fp16 ultraface_rfb320 yolox_nano
""".split()


@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str, real_model: Callable[[str], Path]) -> None:
    """Bound to the shapes of the stored inputs, outputs have the shapes of the stored outputs."""
    folder = real_model(name)
    graph = load(folder / "model.onnx")
    for vectors in sorted(folder.glob("test_data_set_*")):
        feeds = [load_tensor(vectors / f"input_{i}.pb") for i in range(len(graph.inputs))]
        wants = [load_tensor(vectors / f"output_{i}.pb") for i in range(len(graph.outputs))]
        bound = bind(graph, {v.name: f.shape for v, f in zip(graph.inputs, feeds, strict=True)})
        got = [(v.dtype, v.shape) for v in bound.outputs]
        assert got == [(w.dtype, w.shape) for w in wants]
        assert not [n.name for n in bound.nodes if n.op in ("Shape", "ConstantOfShape", "Range")]


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda p: p.stem)
def test_light_models(path: Path) -> None:
    graph = load(path)
    bound = bind(graph, default_shapes(graph))
    want = load_tensor(path.with_name(f"{path.stem}_output_0.pb"))
    assert (bound.outputs[0].dtype, bound.outputs[0].shape) == (want.dtype, want.shape)
