"""The zoo's networks are those of the papers, and their numbers stay sane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from luthier import InferenceSession
from luthier.bench import zoo
from luthier.errors import ArgumentError
from luthier.feeds import random_feeds
from luthier.model import Model
from luthier.tuner import extract

PUBLISHED = {
    "mobilenet_v1": (4_231_976, 569e6),
    "mobilenet_v2": (3_504_872, 300.8e6),
    "mobilenet_v3_small": (2_542_856, 56.5e6),
    "shufflenet_v2_x0_5": (1_366_792, 40.5e6),
    "efficientnet_b0": (5_288_548, 386e6),
    "squeezenet1_1": (1_235_496, 349e6),
    "resnet18": (11_689_512, 1814e6),
    "resnet50": (25_557_032, 4089e6),
}
"""Parameters, and multiplications with an addition, of torchvision and of MobileNetV1's paper."""


@pytest.mark.parametrize("name", zoo.MODELS)
def test_networks_are_the_published_ones(name: str) -> None:
    parameters, multiplications = PUBLISHED[name]
    built = zoo.build(name)
    onnx.checker.check_model(built, full_check=True)
    graph = built.graph
    statistics = {i for n in graph.node if n.op_type == "BatchNormalization" for i in n.input[3:]}
    counted = (
        np.prod(w.dims, dtype=int)
        for w in graph.initializer
        if w.data_type == onnx.TensorProto.FLOAT and w.dims and w.name not in statistics
    )
    assert sum(counted) == parameters
    assert built.opset_import[0].version >= 17
    model = Model(built.SerializeToString())
    feeds = random_feeds(model)
    assert {k: v.shape for k, v in feeds.items()} == {"input": (1, 3, 224, 224)}
    tasks = [t for t in extract(model.specialise(feeds), 1) if t.workload.op != "chain"]
    flops = sum(t.weight * t.workload.flops for t in tasks)
    assert flops / 2 == pytest.approx(multiplications, rel=0.01)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"])
def test_activations_keep_their_scale(name: str) -> None:
    import onnxruntime

    built = zoo.build(name)
    for node in built.graph.node:  # look at what each activation gives
        if node.op_type in ("Relu", "HardSwish", "Conv"):
            built.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    session = onnxruntime.InferenceSession(built.SerializeToString())
    picture = random_feeds(Model(built.SerializeToString()), seed=1)
    scores, *inner = session.run(None, picture)
    assert scores.shape == (1, 1000)
    assert 0.01 < scores.std() < 20
    assert all(0.01 < x.std() < 20 for x in inner)
    (own,) = InferenceSession(zoo.build(name).SerializeToString(), records=None).run(None, picture)
    np.testing.assert_allclose(own, scores, atol=1e-3 * np.ptp(scores))


def test_weights_follow_from_the_seed() -> None:
    first, again, other = (zoo.build("squeezenet1_1", seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = zoo.cached("squeezenet1_1")
    written = path.stat().st_mtime_ns
    assert zoo.cached("squeezenet1_1") == path
    assert path.stat().st_mtime_ns == written
    assert tmp_path in path.parents
    with pytest.raises(
        ArgumentError, match=r"no model 'vgg' in the zoo, choose from: mobilenet_v1"
    ):
        zoo.cached("vgg")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.main(["squeezenet1_1", "-o", str(tmp_path / "models")])
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "models" / "squeezenet1_1.onnx"
    assert onnx.load(path).graph.name == "squeezenet1_1"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
