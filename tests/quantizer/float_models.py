"""Small float models of many operators, and samples for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

CLASSES = 6
_rng = np.random.default_rng(3)


def reseed() -> None:
    """Let `floats` begin anew, so that no test depends on another."""
    global _rng
    _rng = np.random.default_rng(3)


def node(op: str, inputs: str, outputs: str, name: str = "", **attrs: object) -> NodeProto:
    """A node; names are separated by blanks, ``-`` is an input left out."""
    names = ["" if n == "-" else n for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name or f"{op}_{outputs}", **attrs)


def model(
    nodes: list[NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, list[int | str]] | None = None,
    outputs: dict[str, list[int | str]] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A checked model; inputs and outputs are float32."""
    graph = helper.make_graph(
        nodes,
        "float",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
            for n, shape in (inputs or {"x": ["n", 3, 12, 12]}).items()
        ],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
            for n, shape in (outputs or {"y": ["n", CLASSES]}).items()
        ],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto


def floats(*shape: int, scale: float = 1.0) -> np.ndarray:
    """Weights."""
    return (_rng.standard_normal(shape) * scale).astype(np.float32)


def network() -> onnx.ModelProto:
    """One of every operator that has a quantised form, batch norm and a float tail."""
    reseed()
    weights = {
        "w1": floats(8, 3, 3, 3, scale=0.3),
        "bn_s": np.abs(floats(8)) + 0.5,
        "bn_b": floats(8),
        "bn_m": floats(8),
        "bn_v": np.abs(floats(8)) + 0.5,
        "w2": floats(8, 1, 3, 3, scale=0.4),
        "b2": floats(8, scale=0.2),
        "w3": floats(8, 8, 1, 1, scale=0.4),
        "b3": floats(8, scale=0.2),
        "w4": floats(4, 8, 1, 1, scale=0.4),
        "lo": np.float32(0),
        "hi": np.float32(6),
        "gate": np.abs(floats(1, 8, 1, 1)),
        "w5": floats(24, 10, scale=0.4),
        "w6": floats(CLASSES, 10, scale=0.4),
        "b6": floats(CLASSES),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    nodes = [
        node("Conv", "x w1", "c1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 bn_s bn_b bn_m bn_v", "n1"),
        node("Relu", "n1", "r1"),
        node("Conv", "r1 w2 b2", "c2", group=8, pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Clip", "c2 lo hi", "r2"),
        node("Conv", "r2 w3 b3", "c3"),
        node("Add", "c3 r2", "a3"),
        node("Mul", "a3 gate", "m3"),
        node("HardSwish", "m3", "h3"),
        node("Pad", "h3 pads", "p3"),
        node("MaxPool", "p3", "x3", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "x3", "v3", kernel_shape=[2, 2]),
        node("Conv", "v3 w4", "c4"),
        node("Sigmoid", "c4", "s4"),
        node("LeakyRelu", "c4", "l4", alpha=0.1),
        node("Concat", "s4 l4 v3", "k4", axis=1),
        node("Resize", "k4 - scales", "z4", mode="nearest"),
        node("GlobalAveragePool", "z4", "g4"),
        node("Flatten", "g4", "f4"),
        node("Concat", "f4 f4", "d4", axis=1),
        node("Slice", "d4 starts ends axes", "e4"),
        node("MatMul", "e4 w5", "t5"),
        node("Tanh", "t5", "u5"),
        node("Gemm", "u5 w6 b6", "logits", transB=1),
        node("Softmax", "logits", "y", axis=1),
    ]
    weights |= {"starts": np.array([4]), "ends": np.array([28]), "axes": np.array([1])}
    return model(nodes, weights)


def write_samples(path: Path, count: int = 16, seed: int = 5) -> Path:
    """A .npz file of inputs for `network`."""
    rng = np.random.default_rng(seed)
    np.savez(path, x=rng.standard_normal((count, 3, 12, 12)).astype(np.float32))
    return path
