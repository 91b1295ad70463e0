"""Shape inference of single operators: results, and the errors of operands that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.errors import InvalidModelError, UnsupportedError
from luthier.graph import ops
from luthier.graph.ir import Node, Value
from luthier.onnx_frontend.evaluate import infer as onnx_infer
from luthier.onnx_frontend.schemas import find_schema

F32, I64, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)


def make(op: str, *inputs: Any, outputs: int = 1, domain: str = "", **attrs: Any) -> Node:
    """A node; an input is a shape (float), an array (constant), a Value or None."""
    values = []
    for i, item in enumerate(inputs):
        if isinstance(item, tuple):
            item = Value(f"i{i}", F32, item)
        elif isinstance(item, list | np.ndarray):
            data = np.array(item, np.int64) if isinstance(item, list) else item
            item = Value(f"i{i}", data.dtype, data.shape, data)
        values.append(item)
    results = [Value(f"o{i}") for i in range(outputs)]
    return Node(op, values, results, attrs, "n", domain, opset=21)


def infer(node: Node) -> list[tuple[np.dtype, tuple[int, ...]]]:
    info = ops.find(node)
    assert info is not None
    return info.infer(node)


def ints(*shape: int) -> Value:
    return Value("ints", I64, shape)


MAP = (1, 6, 9, 11)
FILTER = (8, 3, 3, 3)

CASES: list[tuple[Node, Any]] = [
    (make("Relu", MAP), MAP),
    (make("Add", (4, 1, 3), (5, 1)), (4, 5, 3)),
    (make("Sum", (4, 1), (1,), (3, 1, 5)), (3, 4, 5)),
    (make("Where", Value("c", BOOL, (3, 1)), (4,), ()), (3, 4)),
    (make("PRelu", MAP, (6, 1, 1)), MAP),
    (make("MatMul", (2, 1, 4, 5), (3, 5, 6)), (2, 3, 4, 6)),
    (make("MatMul", (5,), (3, 5, 6)), (3, 6)),
    (make("MatMul", (5,), (5,)), ()),
    (make("Gemm", (5, 4), (6, 5), (6,), transA=1, transB=1), (4, 6)),
    (make("Conv", MAP, FILTER, (8,), group=2, pads=[1, 0, 1, 2], strides=[2, 3]), (1, 8, 5, 4)),
    (make("Conv", MAP, FILTER, group=2, dilations=[2, 4]), (1, 8, 5, 3)),
    (make("Conv", MAP, FILTER, group=2, auto_pad="SAME_UPPER", strides=[2, 2]), (1, 8, 5, 6)),
    (make("Conv", (2, 3, 50), (4, 3, 7)), (2, 4, 44)),
    (make("ConvTranspose", MAP, (6, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]), (1, 2, 17, 21)),
    (
        make("ConvTranspose", MAP, (6, 2, 3, 3), strides=[2, 2], output_padding=[1, 1], group=2),
        (1, 4, 20, 24),
    ),
    (
        make("ConvTranspose", MAP, (6, 2, 3, 3), strides=[2, 2], output_shape=[18, 22]),
        (1, 2, 18, 22),
    ),
    (make("MaxPool", MAP, kernel_shape=[2, 2], strides=[2, 2]), (1, 6, 4, 5)),
    (make("MaxPool", MAP, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), (1, 6, 5, 6)),
    (make("AveragePool", MAP, kernel_shape=[3, 3], auto_pad="VALID"), (1, 6, 7, 9)),
    (make("GlobalAveragePool", MAP), (1, 6, 1, 1)),
    (make("BatchNormalization", MAP, (6,), (6,), (6,), (6,)), MAP),
    (make("LayerNormalization", (2, 5, 7), (7,), (7,)), (2, 5, 7)),
    (make("Softmax", MAP, axis=-2), MAP),
    (make("LRN", MAP, size=3), MAP),
    (make("ReduceMean", MAP, [1, -1]), (1, 1, 9, 1)),
    (make("ReduceMean", MAP, [1, -1], keepdims=0), (1, 9)),
    (make("ReduceSum", MAP), (1, 1, 1, 1)),
    (make("ReduceSum", MAP, noop_with_empty_axes=1), MAP),
    (make("Reshape", MAP, [0, -1, 33]), (1, 18, 33)),
    (make("Reshape", (0, 3), [3, 0], allowzero=1), (3, 0)),
    (make("Flatten", MAP, axis=2), (6, 99)),
    (make("Flatten", MAP, axis=4), (594, 1)),
    (make("Squeeze", (1, 2, 1), [-1]), (1, 2)),
    (make("Squeeze", (1, 2, 1)), (2,)),
    (make("Unsqueeze", (2, 3), [0, -1]), (1, 2, 3, 1)),
    (make("Transpose", MAP, perm=[0, 2, 3, 1]), (1, 9, 11, 6)),
    (make("Expand", (3, 1), [2, 1, 4]), (2, 3, 4)),
    (make("Concat", (2, 3), (2, 5), axis=-1), (2, 8)),
    (make("Slice", MAP, [1, -4], [100, -1], [2, 3], [3, 1]), (1, 6, 3, 3)),
    (make("Slice", (8,), [-1], [-(2**63)], [0], [-2]), (4,)),
    (make("Slice", (8,), [5], [2]), (0,)),
    (make("Gather", (5, 7), ints(2, 3), axis=1), (5, 2, 3)),
    (make("GatherElements", (5, 7), ints(5, 2), axis=1), (5, 2)),
    (make("GatherND", (2, 5, 7), ints(2, 4, 1), batch_dims=1), (2, 4, 7)),
    (make("ScatterND", (5, 7), ints(3, 1), (3, 7)), (5, 7)),
    (make("Tile", (2, 3), [2, 4]), (4, 12)),
    (make("Pad", (2, 3), [1, 0, 2, -1]), (5, 2)),
    (make("Pad", (2, 3), [4, 1], None, [-1]), (2, 8)),
    (make("DepthToSpace", (1, 8, 2, 3), blocksize=2), (1, 2, 4, 6)),
    (make("SpaceToDepth", (1, 2, 4, 6), blocksize=2), (1, 8, 2, 3)),
    (make("Resize", MAP, None, np.array([1, 1, 2, 0.5], np.float32)), (1, 6, 18, 5)),
    (make("Resize", MAP, None, None, [1, 6, 20, 7]), (1, 6, 20, 7)),
    (make("Resize", MAP, None, None, [18, 33], axes=[2, 3]), (1, 6, 18, 33)),
    (
        make(
            "Resize", MAP, None, None, [18, 33], axes=[2, 3], keep_aspect_ratio_policy="not_larger"
        ),
        (1, 6, 18, 22),
    ),
    (make("Einsum", (2, 3, 4), (4, 5), equation="b...i, ij -> b...j"), (2, 3, 5)),
    (make("Einsum", (2, 3), (3, 4), equation="ij,jk"), (2, 4)),
    (make("Einsum", (3, 3), equation="ii->"), ()),
    (make("STFT", (1, 100, 1), np.array(8), (16,)), (1, 11, 9, 2)),
]


def name_of(case: tuple[Node, Any]) -> str:
    node = case[0]
    return "-".join([node.op, *node.attrs])


@pytest.mark.parametrize(("node", "want"), CASES, ids=[name_of(c) for c in CASES])
def test_shape(node: Node, want: tuple[int, ...]) -> None:
    """The expected shape, and the one that ONNX's own inference finds."""
    assert infer(node) == [(F32, want)]
    if node.op != "STFT":  # ONNX infers two-sided frames whatever `onesided` says
        assert onnx_infer(node) == [(F32, want)]


MORE: list[tuple[Node, list[Any]]] = [
    (make("Equal", (4,), (3, 1)), [(BOOL, (3, 4))]),
    (make("Cast", (4,), to=7), [(I64, (4,))]),
    (make("Dropout", (4,), outputs=2), [(F32, (4,)), (BOOL, (4,))]),
    (make("Shape", MAP, start=1, end=-1), [(I64, (2,))]),
    (make("Size", MAP), [(I64, ())]),
    (make("ArgMax", MAP, axis=1, keepdims=0), [(I64, (1, 9, 11))]),
    (make("TopK", (4, 9), [3], outputs=2), [(F32, (4, 3)), (I64, (4, 3))]),
    (
        make("Split", (7, 2), outputs=3, num_outputs=3),
        [(F32, (3, 2)), (F32, (3, 2)), (F32, (1, 2))],
    ),
    (make("Split", (7,), [4, 3], outputs=2), [(F32, (4,)), (F32, (3,))]),
    (
        make("MaxPool", MAP, kernel_shape=[3, 3], outputs=2),
        [(F32, (1, 6, 7, 9)), (I64, (1, 6, 7, 9))],
    ),
    (make("Range", np.array(1), np.array(8), np.array(3)), [(I64, (3,))]),
    (make("Range", np.array(8), np.array(1), np.array(-3)), [(I64, (3,))]),
    (make("Range", *(np.array(v, np.float32) for v in (0, 1, 0.3))), [(F32, (4,))]),
    (make("ConstantOfShape", [2, 3], value=np.array([1], np.int8)), [(np.dtype("int8"), (2, 3))]),
    (make("OneHot", ints(4), np.array(5), (2,), axis=0), [(F32, (5, 4))]),
    (make("NonZero", np.array([[0, 1], [1, 1]])), [(I64, (2, 3))]),
    (
        make("LSTM", (5, 2, 3), (1, 16, 3), (1, 16, 4), outputs=3, hidden_size=4),
        [(F32, (5, 1, 2, 4)), (F32, (1, 2, 4)), (F32, (1, 2, 4))],
    ),
    (
        make("GRU", (5, 2, 3), (2, 12, 3), (2, 12, 4), outputs=2, direction="bidirectional"),
        [(F32, (5, 2, 2, 4)), (F32, (2, 2, 4))],
    ),
    (make("QuantizeLinear", MAP, ()), [(np.dtype("uint8"), MAP)]),
    (make("Silu", MAP, domain="luthier"), [(F32, MAP)]),
]


@pytest.mark.parametrize(("node", "want"), MORE, ids=[name_of(c) for c in MORE])
def test_types(node: Node, want: list[Any]) -> None:
    assert infer(node)[: len(want)] == want


@pytest.mark.parametrize(
    ("nchw", "nhwc"),
    [
        (
            make("Conv", MAP, FILTER, (8,), group=2),
            make("Conv", (1, 9, 11, 6), FILTER, (8,), group=2, layout="NHWC"),
        ),
        (
            make("ConvTranspose", MAP, (6, 2, 3, 3)),
            make("ConvTranspose", (1, 9, 11, 6), (6, 2, 3, 3), layout="NHWC"),
        ),
        (
            make("MaxPool", MAP, kernel_shape=[3, 2]),
            make("MaxPool", (1, 9, 11, 6), kernel_shape=[3, 2], layout="NHWC"),
        ),
        (
            make("GlobalAveragePool", MAP),
            make("GlobalAveragePool", (1, 9, 11, 6), layout="NHWC"),
        ),
    ],
)
def test_channels_last(nchw: Node, nhwc: Node) -> None:
    """With layout NHWC the shapes are physical; weights stay as ONNX has them."""
    n, c, h, w = infer(nchw)[0][1]
    assert infer(nhwc)[0][1] == (n, h, w, c)


BAD: list[tuple[Node, str]] = [
    (make("Add", (3,), (4,)), "shapes [3] and [4] do not broadcast"),
    (make("Add", (3,), ints(3)), "inputs differ in type: float32 and int64"),
    (make("PRelu", (3,), (2, 3)), "slope [2, 3] does not broadcast to [3]"),
    (make("Conv", MAP, FILTER), "input has 6 channels, weight [8, 3, 3, 3] with group 1 needs 3"),
    (make("Conv", MAP, (8, 6, 3)), "weight [8, 6, 3] does not fit input"),
    (make("Conv", MAP, (7, 3, 3, 3), group=2), "7 channels do not split into 2"),
    (make("Conv", MAP, FILTER, (7,), group=2), "bias [7] does not fit 8 channels"),
    (make("Conv", MAP, FILTER, group=2, kernel_shape=[5, 3]), "kernel_shape [5, 3] does not fit"),
    (make("Conv", MAP, (8, 6, 12, 3)), "kernel [12, 3] is larger than the input [9, 11]"),
    (make("Conv", MAP, FILTER, group=2, strides=[0, 1]), "strides [0, 1] is not legal"),
    (make("Conv", MAP, FILTER, group=2, pads=[1, 1]), "pads [1, 1] is not legal"),
    (make("Conv", MAP, FILTER, group=2, pads=[-1, 0, 0, 0]), "pads [-1, 0, 0, 0] is not legal"),
    (make("Conv", MAP, FILTER, group=2, auto_pad="ODD"), "auto_pad 'ODD' is unknown"),
    (make("ConvTranspose", MAP, (5, 2, 3, 3)), "input has 6 channels"),
    (make("ConvTranspose", MAP, (6, 2, 3, 3), pads=[9, 9, 9, 9]), "leave nothing"),
    (make("MaxPool", (1, 2), kernel_shape=[2]), "at least 3 dimensions"),
    (make("BatchNormalization", MAP, (6,), (6,), (5,), (6,)), "input 3 of shape [5] does not fit"),
    (make("MatMul", (2, 3), (4, 5)), "cannot multiply shapes [2, 3] and [4, 5]"),
    (make("MatMul", (), (4,)), "cannot multiply shapes [] and [4]"),
    (make("Gemm", (2, 3), (4, 5)), "differ: 3 and 4"),
    (make("Gemm", (2, 3), (3, 5), (2,)), "C of shape [2] does not broadcast to [2, 5]"),
    (make("Concat", (2, 3), (3, 3), axis=1), "cannot join shapes [2, 3] and [3, 3] along axis 1"),
    (make("Concat", (2, 3), axis=2), "axis 2 is out of range for rank 2"),
    (make("Reshape", (2, 3), [4, -1]), "cannot reshape [2, 3] to [4, -1]"),
    (make("Reshape", (2, 3), [-1, -1]), "shape [-1, -1] is not legal"),
    (make("Reshape", (2, 3), [6, 1, 0]), "copies dimension 2 of [2, 3]"),
    (make("Squeeze", (2, 1), [0]), "squeezes axis 0 of [2, 1], which is not 1"),
    (make("Unsqueeze", (2,), [0, 0]), "axes [0, 0] are not distinct"),
    (make("Transpose", (2, 3), perm=[0, 0]), "perm [0, 0] does not fit rank 2"),
    (make("Slice", (4,), [0], [1], [0], [0]), "a step is 0"),
    (make("Split", (4,), [3, 3], outputs=2), "cannot split 4 elements into [3, 3]"),
    (make("Tile", (4,), [-1]), "repeats [-1] do not fit shape [4]"),
    (make("Pad", (4,), [-3, -2]), "cut more than [4]"),
    (make("TopK", (4,), [5]), "K [5] is out of range"),
    (make("Range", np.array(0), np.array(1), np.array(0)), "range [0, 1, 0] is not legal"),
    (make("ConstantOfShape", [-1]), "shape [-1] is not legal"),
    (make("Resize", MAP), "needs either scales or sizes"),
    (make("Resize", MAP, None, np.array([1, 1, -2, 2], "f")), "scales [1.0, 1.0, -2.0, 2.0]"),
    (make("Einsum", (3, 5), equation="...ii -\x01...i"), "is not legal"),
    (make("Einsum", (3, 5), (4, 2), equation="ij,jk"), "'j' is 5 and 4"),
    (make("Einsum", (3, 5), equation="ijk"), "term 'ijk' does not fit [3, 5]"),
    (make("LSTM", (5, 2, 3), (1, 15, 3), (1, 16, 4)), "do not fit input [5, 2, 3]"),
    (make("Cast", (1,), to=99), "unknown element type, 99"),
    (make("Relu", None), "input 0 is missing"),
]


@pytest.mark.parametrize(("node", "reason"), BAD, ids=[name_of(c) for c in BAD])
def test_refused(node: Node, reason: str) -> None:
    with pytest.raises(InvalidModelError) as caught:
        infer(node)
    assert str(caught.value).startswith(f"node 'n' ({node.op}): ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "node",
    [
        make("Reshape", MAP, ints(2)),
        make("Expand", MAP, ints(2)),
        make("Range", *(Value(n, I64, ()) for n in "abc")),
        make("ConstantOfShape", ints(2)),
        make("NonZero", MAP),
    ],
    ids=lambda n: n.op,
)
def test_shapes_that_need_values(node: Node) -> None:
    with pytest.raises(UnsupportedError, match=r"depends on the values of"):
        infer(node)


def test_every_entry_is_an_operator() -> None:
    """The explicit tables hold no misspelt names."""
    unknown = [op for op in ops.TABLES[""] if find_schema(op, 24, "") is None]
    assert unknown == []
