"""From a float model and samples to a quantised file that runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import float_models
import numpy as np
import onnx
import onnxruntime
import pytest
from float_models import floats, model, node

import luthier
from luthier.errors import ArgumentError, UnsupportedError
from luthier.onnx_frontend.quantize import FORMATS
from luthier.quantizer import execute, quantize

IMAGE = {"x": ["n", 4, 8, 8]}
MAPS = {"y": ["n", "c", "h", "w"]}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """The network of every operator, its logits an output too."""
    proto = float_models.network()
    logits = onnx.helper.make_tensor_value_info("logits", 1, ["n", float_models.CLASSES])
    proto.graph.output.append(logits)
    onnx.save(proto, tmp_path / "net.onnx")
    float_models.write_samples(tmp_path / "data.npz")
    return tmp_path / "net.onnx"


def onnxruntime_session(path: Path, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("format", FORMATS)
def test_both_runtimes_agree(
    network: Path, format: str, per_channel: bool, activations: str
) -> None:
    """The file is standard; its logits differ by a quantum at most between runtimes."""
    outcome = quantize(
        network,
        network.parent / "data.npz",
        format=format,
        per_channel=per_channel,
        activations=activations,
    )
    assert outcome.path == network.parent / "net.int8.onnx"
    assert (outcome.calibrated, outcome.held_out, outcome.disjoint) == (12, 4, True)
    proto = onnx.load(outcome.path)
    onnx.checker.check_model(proto, full_check=True)
    quantum = next(
        float(onnx.numpy_helper.to_array(t))
        for t in proto.graph.initializer
        if t.name == "logits_scale"
    )
    x = np.load(network.parent / "data.npz")["x"]
    theirs = onnxruntime_session(outcome.path).run(["logits"], {"x": x})[0]
    mine = luthier.InferenceSession(outcome.path).run(["logits"], {"x": x})[0]
    np.testing.assert_allclose(mine, theirs, atol=quantum * 1.01, rtol=0)
    real = luthier.InferenceSession(network).run(["logits"], {"x": x})[0]
    assert np.linalg.norm(mine - real) < 0.05 * np.linalg.norm(real)
    drops = {o.name: o.drop for o in outcome.outputs}
    assert 0 < drops["logits"] < 0.05 and {o.metric for o in outcome.outputs} == {"relative error"}
    assert [n.node for n in outcome.layers][:4] == ["Conv_c1", "Conv_c2", "Conv_c3", "Add_a3"]
    assert all(n.snr_db is not None and n.snr_db > 20 for n in outcome.layers)
    assert outcome.layers[0].own_snr_db == pytest.approx(outcome.layers[0].snr_db)
    assert np.mean([n.own_snr_db - n.snr_db for n in outcome.layers]) > 2


@pytest.mark.parametrize("format", FORMATS)
def test_onnxruntime_runs_it_in_int8(network: Path, format: str, tmp_path: Path) -> None:
    """Its fusions find every layer; only what has no form of its own is float."""
    outcome = quantize(network, network.parent / "data.npz", format=format)
    onnxruntime_session(outcome.path, tmp_path / "optimized.onnx")
    ops = Counter(n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node)
    expected = dict.fromkeys(
        "QLinearAdd QLinearMul QLinearAveragePool QLinearGlobalAveragePool QLinearSigmoid"
        " QLinearLeakyRelu QLinearMatMul QGemm".split(),
        1,
    )
    assert {op: ops[op] for op in expected} == expected
    assert (ops["QLinearConv"], ops["QLinearConcat"], ops["Conv"]) == (4, 2, 0)


def test_tensors_in_many_runs(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded memory changes nothing."""
    stages: list[tuple[str, int, int]] = []
    whole = quantize(network, network.parent / "data.npz", method="mse")
    before = whole.path.read_bytes()
    monkeypatch.setattr(execute, "CHUNK_BYTES", 8000)
    again = quantize(
        network,
        network.parent / "data.npz",
        method="mse",
        progress=lambda *told: stages.append(told),
    )
    assert again.path.read_bytes() == before
    assert list(dict.fromkeys(s[0] for s in stages)) == [
        "ranges",
        "histograms",
        "layers",
        "layers alone",
        "outputs",
    ]
    assert {total for stage, _, total in stages if stage == "ranges"} != {12}
    assert all(done <= total for _, done, total in stages)


def outlier_model(path: Path) -> Path:
    """Three layers; the second has two huge weights that cancel out, and the rest vanishes."""
    w1, w2 = floats(8, 4, 1, 1, scale=0.3), floats(8, 8, 1, 1, scale=0.3)
    w1[1] = w1[0]
    w2[:, 0], w2[:, 1] = 60, -60
    weights = {"w1": w1, "w2": w2, "w3": floats(8, 8, 1, 1, scale=0.3)}
    nodes = [
        node("Conv", "x w1", "a"),
        node("Conv", "a w2", "b"),
        node("Relu", "b", "r"),
        node("Conv", "r w3", "y"),
    ]
    onnx.save(model(nodes, weights, IMAGE, MAPS), path)
    return path


def samples(count: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.standard_normal((1, 4, 8, 8)).astype(np.float32) for _ in range(count)]


def test_max_drop_leaves_the_worst_layers_in_float(tmp_path: Path) -> None:
    path = outlier_model(tmp_path / "outlier.onnx")
    plain = quantize(path, samples(), per_channel=False)
    assert plain.left_float == [] and plain.drop > 0.3
    kept = quantize(path, samples(), per_channel=False, max_drop=0.05)
    assert kept.drop <= 0.05 < plain.drop
    assert kept.left_float == ["Conv_b"]
    assert [n.node for n in kept.layers] == ["Conv_a", "Conv_y"]
    (conv,) = (n for n in onnx.load(kept.path).graph.node if n.name == "Conv_b")
    assert conv.input[1] == "w2"
    mine = luthier.InferenceSession(kept.path).run(None, {"x": samples()[3]})[0]
    real = luthier.InferenceSession(path).run(None, {"x": samples()[3]})[0]
    assert np.linalg.norm(mine - real) < 0.06 * np.linalg.norm(real)


def test_max_drop_that_no_int8_reaches(tmp_path: Path) -> None:
    path = outlier_model(tmp_path / "outlier.onnx")
    outcome = quantize(path, samples(), max_drop=0.0, bias_correction=True)
    assert outcome.drop < 1e-6 and len(outcome.left_float) == 3 and outcome.layers == []


def test_equalising_helps_layers_of_uneven_channels(tmp_path: Path) -> None:
    uneven = np.logspace(-2, 2, 8).astype(np.float32)
    weights = {
        "w1": floats(8, 4, 1, 1) * uneven.reshape(-1, 1, 1, 1),
        "w2": floats(8, 1, 3, 3),
        "w3": floats(6, 8, 1, 1) / uneven.reshape(1, -1, 1, 1),
    }
    nodes = [
        node("Conv", "x w1", "a"),
        node("Relu", "a", "b"),
        node("Conv", "b w2", "c", group=8),
        node("Conv", "c w3", "y"),
    ]
    path = tmp_path / "uneven.onnx"
    onnx.save(model(nodes, weights, IMAGE, MAPS), path)
    plain = quantize(path, samples(), per_channel=False)
    better = quantize(path, samples(), per_channel=False, equalize=True)
    assert plain.drop > 0.2 and better.drop < plain.drop / 5
    assert all(n.snr_db is not None and n.snr_db > 25 for n in better.layers)


def test_bias_correction_takes_out_the_mean_error(tmp_path: Path) -> None:
    """Inputs far from zero, and many small weights beside a large one, all rounded upwards."""
    w = np.full((8, 4, 3, 3), 0.006, np.float32)
    w[:, 0, 0, 0] = 1
    weights = {"w": w, "v": w[:, :4].repeat(2, axis=1).copy()}
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Conv", "b v", "y")]
    path = tmp_path / "biased.onnx"
    onnx.save(model(nodes, weights, IMAGE, MAPS), path)
    rng = np.random.default_rng(4)
    data = [(2 + 0.2 * rng.random((1, 4, 8, 8))).astype(np.float32) for _ in range(8)]
    plain = quantize(path, data)
    better = quantize(path, data, bias_correction=True)
    assert better.drop < plain.drop / 4
    real = [luthier.InferenceSession(path).run(None, {"x": x})[0].mean() for x in data]
    means = [luthier.InferenceSession(better.path).run(None, {"x": x})[0].mean() for x in data]
    np.testing.assert_allclose(np.mean(means), np.mean(real), rtol=5e-3)


def test_classifiers_are_judged_by_their_choices(tmp_path: Path) -> None:
    weights = {"w": floats(12, 5)}
    proto = model([node("MatMul", "x w", "y")], weights, {"x": ["n", 12]}, {"y": ["n", 5]})
    onnx.save(proto, tmp_path / "classes.onnx")
    held = [np.random.default_rng(6).standard_normal((40, 12)).astype(np.float32)]
    outcome = quantize(tmp_path / "classes.onnx", held, held_out=held)
    (output,) = outcome.outputs
    real = held[0] @ weights["w"]
    session = luthier.InferenceSession(outcome.path)
    mine = session.run(None, {"x": held[0]})[0]
    assert output.metric == "top-1 agreement"
    assert output.drop == pytest.approx(np.mean(mine.argmax(1) != real.argmax(1)))


def test_what_cannot_be_quantised(tmp_path: Path) -> None:
    path = tmp_path / "relu.onnx"
    onnx.save(model([node("Relu", "x", "y")], {}, IMAGE, MAPS), path)
    with pytest.raises(UnsupportedError, match=r"relu\.onnx: no float32 Conv, Gemm or MatMul"):
        quantize(path, samples())


def test_the_model_is_not_overwritten(network: Path) -> None:
    before = network.read_bytes()
    link = network.parent / "link.onnx"
    link.symlink_to(network)
    for target in (network, link):
        with pytest.raises(ArgumentError, match="would overwrite the model"):
            quantize(network, network.parent / "data.npz", target)
    assert network.read_bytes() == before


def test_a_failed_write_leaves_nothing(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there before stays, and no temporary file."""
    target = network.parent / "out.onnx"
    target.write_bytes(b"before")

    def fail(self: Path, other: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        quantize(network, network.parent / "data.npz", target)
    assert target.read_bytes() == b"before"
    assert {p.name for p in network.parent.iterdir()} == {"net.onnx", "data.npz", "out.onnx"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "guess"}, "unknown method 'guess', choose from: minmax"),
        ({"format": "gguf"}, "unknown format 'gguf', choose from: qdq, qoperator"),
        ({"activations": "int4"}, "unknown activations 'int4'"),
        ({"percentile": 20}, "percentile must be from 50 to 100, got 20"),
        ({"max_drop": 2}, "max_drop must be from 0 to 1, got 2"),
        ({"samples": 0}, "samples must be positive, got 0"),
        ({"exclude": ["nowhere"]}, "no node 'nowhere'"),
    ],
)
def test_bad_arguments(network: Path, options: dict, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        quantize(network, network.parent / "data.npz", **options)
