"""A model of three nodes that tests can write anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["expected", "write_model", "write_set"]

CHANNELS, FILTERS, CLASSES = 3, 8, 5


def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "filters": rng.standard_normal((FILTERS, CHANNELS, 1, 1)).astype(np.float32),
        "matrix": rng.standard_normal((FILTERS, CLASSES)).astype(np.float32),
    }


def write_model(path: Path) -> Path:
    """Conv 1x1 and Relu, mean over the image, MatMul; batch, height and width are free."""
    nodes = [
        helper.make_node("Conv", ["x", "filters"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "matrix"], ["scores"], "matmul"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, "h", "w"])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES]),
            helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", FILTERS, 1, 1]),
        ],
        [numpy_helper.from_array(a, name) for name, a in _weights().items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def expected(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs by NumPy."""
    weights = _weights()
    maps = np.einsum("nchw,kc->nkhw", x, weights["filters"][:, :, 0, 0])
    pooled = np.maximum(maps, 0).mean(axis=(2, 3), dtype=np.float32)
    return pooled @ weights["matrix"], pooled[:, :, None, None]


def write_set(folder: Path, x: np.ndarray, error: float = 0.0) -> Path:
    """A test set whose expected scores are off by `error`."""
    folder.mkdir()
    scores, pooled = expected(x)
    files = {"input_0": x, "output_0": scores + np.float32(error), "output_1": pooled}
    for name, array in files.items():
        (folder / f"{name}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())
    return folder
