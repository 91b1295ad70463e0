"""Operators of older opsets: what is read means what ONNX Runtime computes from the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from onnx_models import FLOAT, model, node, run

from luthier.errors import UnsupportedError
from luthier.onnx_frontend import load
from luthier.onnx_frontend.ops import OPSET

CHANNELS = {k: np.linspace(0.5, 1.5, 2, dtype=np.float32) for k in ("s", "b", "m", "v")}
FACTORS = np.array([1, 1, 2, 3], np.float32)

CASES: list[tuple[str, int, list[onnx.NodeProto], dict[str, Any]]] = [
    ("clip", 7, [node("Clip", "x", min=-0.5, max=0.25)], {}),
    ("clip_low", 7, [node("Clip", "x", min=-0.5)], {}),
    ("slice", 9, [node("Slice", "x", axes=[2, 3], starts=[1, -3], ends=[9, -1])], {}),
    ("slice_no_axes", 9, [node("Slice", "x", starts=[0, 1], ends=[1, 2])], {}),
    ("pad", 10, [node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=1.5)], {}),
    ("pad_edge", 10, [node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="edge")], {}),
    ("squeeze", 11, [node("Squeeze", "x", axes=[0])], {}),
    ("squeeze_all", 11, [node("Squeeze", "x")], {}),
    ("unsqueeze", 11, [node("Unsqueeze", "x", axes=[0, 2])], {}),
    ("reduce_sum", 11, [node("ReduceSum", "x", axes=[1, -1], keepdims=0)], {}),
    ("reduce_mean", 13, [node("ReduceMean", "x", axes=[2, 3])], {}),
    ("reduce_l2", 13, [node("ReduceL2", "x")], {}),
    ("split", 11, [node("Split", "x", "a y", axis=2, split=[1, 3])], {}),
    ("split_even", 11, [node("Split", "x", "a y", axis=2)], {}),
    ("top_k", 9, [node("TopK", "x", "y i", k=2, axis=3)], {}),
    ("softmax_last", 11, [node("Softmax", "x", axis=3)], {}),
    ("softmax_matrix", 11, [node("Softmax", "x")], {}),
    (
        "softmax_hidden_rank",
        11,
        [node("Abs", "x", "a", name="m"), node("Softmax", "a", axis=2)],
        {},
    ),
    ("log_softmax_matrix", 11, [node("LogSoftmax", "x", axis=2)], {}),
    ("hardmax_matrix", 11, [node("Hardmax", "x", axis=1)], {}),
    ("dropout", 7, [node("Dropout", "x", ratio=0.5)], {}),
    ("dropout_10", 10, [node("Dropout", "x", ratio=0.5)], {}),
    ("batch_norm_7", 7, [node("BatchNormalization", "x s b m v", epsilon=1e-3)], CHANNELS),
    ("batch_norm_9", 9, [node("BatchNormalization", "x s b m v", momentum=0.8)], CHANNELS),
    ("upsample_7", 7, [node("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0])], {}),
    ("upsample_9", 9, [node("Upsample", "x f", mode="linear")], {"f": FACTORS}),
    ("resize_10_up", 10, [node("Resize", "x f")], {"f": FACTORS}),
    ("resize_10_down", 10, [node("Resize", "x f")], {"f": np.array([1, 1, 0.6, 0.6], np.float32)}),
    ("resize_10_linear", 10, [node("Resize", "x f", mode="linear")], {"f": FACTORS}),
    ("resize_11", 11, [node("Resize", "x e f")], {"e": FACTORS[:0], "f": FACTORS}),
    (
        "resize_11_sizes",
        11,
        [node("Resize", "x e e s", mode="linear")],
        {"e": FACTORS[:0], "s": np.array([1, 2, 7, 5])},
    ),
    (
        "scatter",
        10,
        [node("Scatter", "x i u", axis=3)],
        {"i": np.array([[[[2]]]]), "u": np.array([[[[9]]]], np.float32)},
    ),
    (
        "gemm_7",
        7,
        [node("Gemm", "w w c", transB=1)],
        {"w": np.eye(3, dtype=np.float32) * 2, "c": CHANNELS["s"][:1]},
    ),
    ("max_pool_8", 8, [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])], {}),
    ("average_pool_7", 7, [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}),
    (
        "grid_sample_16",
        16,
        [node("GridSample", "x g", mode="bilinear")],
        {"g": np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 2, 2, 2)},
    ),
]


@pytest.mark.parametrize(
    ("opset", "nodes", "constants"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_upgraded(opset: int, nodes: list[onnx.NodeProto], constants: dict[str, Any]) -> None:
    proto = model(nodes, constants=constants, opset=opset)
    proto.graph.output[0].type.tensor_type.elem_type = FLOAT
    data = proto.SerializeToString()
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    graph = load(data)
    assert {n.opset for n in graph.nodes} == {OPSET}
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {"x": x})
    (got,) = run(graph, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_group_norm_18() -> None:
    """ONNX Runtime has no such kernel; the definition in NumPy."""
    x = np.random.default_rng(0).standard_normal((2, 4, 3, 3)).astype(np.float32)
    scale, bias = np.array([2, 3], np.float32), np.array([-1, 1], np.float32)
    item = node("GroupNormalization", "x s b", num_groups=2)
    graph = load(
        model(
            [item], {"x": ["N", 4, 3, 3]}, constants={"s": scale, "b": bias}, opset=18
        ).SerializeToString()
    )
    grouped = x.reshape(2, 2, -1)
    mean, var = grouped.mean(-1, keepdims=True), grouped.var(-1, keepdims=True)
    want = (grouped - mean) / np.sqrt(var + 1e-5) * scale[:, None] + bias[:, None]
    (got,) = run(graph, {"x": x})
    np.testing.assert_allclose(got, want.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_dropout_mask_keeps_its_type() -> None:
    """Before opset 10 the mask has the data's type."""
    proto = model([node("Dropout", "x", "d y")], opset=7)
    (mask,) = run(load(proto.SerializeToString()), {"x": np.ones((1, 2, 4, 4), np.float32)})
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, 1)


@pytest.mark.parametrize(
    ("opset", "item", "reason"),
    [
        (7, node("BatchNormalization", "x s b m v", spatial=0), "spatial = 0"),
        (9, node("BatchNormalization", "x s b m v", "y p q"), "training outputs"),
        (
            11,
            node("Resize", "x e f", coordinate_transformation_mode="tf_half_pixel_for_nn"),
            "tf_half_pixel_for_nn",
        ),
        (10, node("Resize", "x g"), "grow and shrink"),
    ],
)
def test_refused(opset: int, item: onnx.NodeProto, reason: str) -> None:
    constants = {
        **CHANNELS,
        "e": FACTORS[:0],
        "f": FACTORS,
        "g": np.array([1, 1, 2, 0.5], np.float32),
    }
    proto = model([item], constants=constants, opset=opset)
    with pytest.raises(UnsupportedError, match=rf"^model: node 'n' \({item.op_type}\): .*{reason}"):
        load(proto.SerializeToString())


def test_newer_models_keep_their_version() -> None:
    newest = onnx.defs.onnx_opset_version()
    graph = load(model([node("Relu", "x")], opset=newest).SerializeToString())
    assert graph.nodes[0].opset == max(newest, OPSET)


def test_bodies_are_upgraded() -> None:
    body = helper.make_graph(
        [node("Unsqueeze", "x", "u", axes=[0])],
        "body",
        [],
        [helper.make_empty_tensor_value_info("u")],
    )
    item = node("If", "c", then_branch=body, else_branch=body)
    proto = model([item], constants={"c": np.array(True)}, opset=11)
    graph = load(proto.SerializeToString())
    inner = graph.nodes[0].attrs["then_branch"].nodes[0]
    assert inner.opset == OPSET
    assert inner.inputs[1].data.tolist() == [0]
