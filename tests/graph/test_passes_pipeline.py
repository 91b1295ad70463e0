"""The whole pipeline: on a graph made by hand, and on real models with their expected outputs."""

from __future__ import annotations

import pkgutil
from collections import Counter

import interp
import numpy as np
import pytest
from graphs import Builder, assert_close

from luthier.errors import VerifyError
from luthier.graph import passes
from luthier.graph.infer import bind
from luthier.graph.passes import PIPELINE, optimize
from luthier.graph.printer import print_graph
from luthier.onnx_frontend import load, load_tensor

MODELS = {
    "basic_pitch_nmp": {"Transpose": 2, "Conv": 32, "Neg": 0},
    "centerface_dyn": {"Transpose": 4, "Conv": 60, "ConvTranspose": 3, "Relu": 0},
    "mnist12": {"Transpose": 0, "Conv": 2, "MaxPool": 2, "MatMul": 1, "Add": 0, "Relu": 0},
    "mobilenet_v2_real_ts13": {"Transpose": 1, "Conv": 52, "Clip": 0, "Add": 0},
    "pplcnet_orientation": {"Transpose": 1, "Conv": 32, "BatchNormalization": 0, "Add": 0},
    "ppocrv2_cls": {"Transpose": 1, "Conv": 53, "Clip": 0, "Add": 0, "Mul": 9},
    "ppocrv4_det": {"Transpose": 1, "Conv": 63, "Clip": 0, "BatchNormalization": 0},
    "ppocrv4_rec": {"Transpose": 7, "Conv": 41, "Clip": 0, "LayerNormalization": 5},
    "silero_vad_16k_sequence": {"Transpose": 2, "Conv": 6},
    "squeezenet_fp16": {"Transpose": 1, "Conv": 26, "Cast": 2, "Relu": 0},
    "ultraface_rfb320": {"Transpose": 1, "Conv": 52, "BatchNormalization": 0, "Relu": 0},
    "yolox_nano": {"Transpose": 1, "Conv": 113, "Sigmoid": 0, "Mul": 0},
}
"""Real model -> how many nodes of some operators are left."""


def small_network():
    """Something for every group of passes."""
    b = Builder()
    x = b.input("x", 1, 3, 8, 8, dtype=np.float16)
    y = b.op("Identity", b.op("Pad", x, b.ints(0, 0, 1, 1, 0, 0, 1, 1)))
    y = b.op("Conv", y, b.weight(4, 3, 3, 3, dtype=np.float16))
    half = [b.const(np.full(4, v), np.float16) for v in (1.5, 0.25, 0.5, 2.0)]
    y = b.op("BatchNormalization", y, *half)
    y = b.op("Mul", y, b.op("Sigmoid", y))
    z = b.op("Conv", y, b.weight(4, 4, 1, 1, dtype=np.float16))
    y = b.op("Relu", b.op("Add", z, y))
    y = b.op("Flatten", b.op("GlobalAveragePool", y))
    return b.done(b.op("Gemm", y, b.weight(5, 4, dtype=np.float16), transB=1, alpha=0.5))


def test_small_network():
    graph = small_network()
    feeds = interp.random_feeds(graph)
    before = interp.run(graph, *feeds)
    assert optimize(graph) is graph
    assert_close(interp.run(graph, *feeds), before, 5e-3)
    kinds = Counter(n.op for n in graph.nodes)
    assert kinds == {"Cast": 2, "Transpose": 1, "Conv": 2, "ReduceMean": 1, "Reshape": 1, "Gemm": 1}
    first, second = (n for n in graph.nodes if n.op == "Conv")
    assert first.attrs["activation"] == "silu" and first.attrs["pads"] == [1, 1, 1, 1]
    assert second.attrs["activation"] == "relu" and second.attrs["residual"] == 1


def test_second_run_changes_nothing():
    graph = optimize(small_network())
    text = print_graph(graph)
    assert print_graph(optimize(graph)) == text


def test_verifies_after_each_pass(monkeypatch):
    def spoil(graph):
        graph.nodes.reverse()
        return True

    monkeypatch.setattr(PIPELINE[1][0], "run", spoil)
    with pytest.raises(VerifyError, match="before it is defined"):
        optimize(small_network())


def test_every_pass_is_in_the_pipeline():
    modules = {info.name for info in pkgutil.iter_modules(passes.__path__)}
    listed = {m.__name__.rpartition(".")[2] for group in PIPELINE for m in group}
    assert modules - listed == {"quantised", "rewrite"}


@pytest.mark.parametrize("name", MODELS)
def test_real_model(name, real_model):
    folder = real_model(name)
    model = load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    feeds = [load_tensor(data / f"input_{i}.pb") for i in range(len(model.inputs))]
    expected = [load_tensor(data / f"output_{i}.pb") for i in range(len(model.outputs))]
    graph = bind(model, {v.name: a.shape for v, a in zip(model.inputs, feeds, strict=True)})
    optimize(graph)
    assert [v.name for v in graph.outputs] == [v.name for v in model.outputs]
    assert_close(interp.run(graph, *feeds), expected, 1e-4)
    kinds = Counter(n.op for n in graph.nodes)
    assert {op: kinds[op] for op in MODELS[name]} == MODELS[name]
