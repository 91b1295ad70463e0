"""Tuning decides for each layer of a QDQ model whether it is computed in int8 or in float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdq_models import Qdq

from luthier import InferenceSession, native_target, tuner
from luthier.kernels import Precision, Workload, precision_spaces, space
from luthier.model import Model
from luthier.tuner.record import Reference, Result, Times

CONVERSIONS = 3e-6
SECONDS = {"5x5 maps": {"int8": 41e-6, "f32": 35e-6}, "others": {"int8": 9e-6, "f32": 38e-6}}
"""Made-up times: float32 is faster on maps of 5 x 5."""


@pytest.fixture(autouse=True)
def every_choice_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_spaces, "HOPELESS", np.inf)


@pytest.fixture(scope="module")
def source() -> Qdq:
    """Two convolutions, of which the second is on maps of 5 x 5, and a matrix product."""
    b = Qdq()
    x = b.input(1, 6, 10, 10)
    y = b.pair(b.op("Conv", x, b.weights(8, 6, 2, 2), b.bias(8), strides=[2, 2]), -3, 3)
    y = b.op("Conv", y, b.weights(9, 8, 3, 3), b.bias(9), pads=[1, 1, 1, 1])
    y = b.op("Flatten", b.pair(b.op("Relu", y), 0, 4))
    y = b.pair(b.op("MatMul", y, b.weights(225, 7, axis=1)), -9, 9)
    b.outputs = (y,)
    return b


class MadeUp:
    """A measurer with the times of `SECONDS`; products alone are all at their best untuned."""

    kernels = tuner.kernels_hash()

    def space(self, workload: Workload) -> Any:
        return space(workload.op, workload)

    def measure(
        self, workload: Workload, config: Any, reference: Any, best: float = np.inf
    ) -> Result:
        times = [self._seconds(workload, c) for c in (config, reference)]
        ratio = times[0] / times[1]
        compared = Reference(dict(reference), ratio, ratio * 0.999, ratio * 1.001)
        return Result("ok", times=Times(times[0]), reference=compared)

    def confirm(self, workload: Workload, configs: Any, reference: Any) -> list[Result]:
        return [self.measure(workload, config, reference) for config in configs]

    def _seconds(self, workload: Workload, config: Mapping[str, Any]) -> float:
        if not isinstance(workload, Precision):
            return 1e-5
        times = SECONDS["5x5 maps" if "h5w5" in workload.key else "others"]
        precision = config["precision"]
        return times[precision] + CONVERSIONS * (precision == "f32")


def test_the_faster_precision_of_each_layer(source: Qdq, tmp_path: Path) -> None:
    model, feeds = Model(source.model(*source.outputs)), source.feeds()
    database = tuner.Database(tmp_path / "records.jsonl")
    tasks = tuner.extract(model.specialise(feeds), num_threads=1)
    choices = [t for t in tasks if isinstance(t.workload, Precision)]
    assert len(choices) == 3
    report = tuner.tune(
        tasks, database, native_target(), level="quick", strategy="random", measurer=MadeUp()
    )
    won = [t for t in report.tasks if t.won]
    assert ["h5w5" in t.task.key and t.task.workload.op for t in won] == ["precision"]

    session = InferenceSession(source.model(*source.outputs), num_threads=1, records=database.path)
    plain = InferenceSession(source.model(*source.outputs), num_threads=1, records=None)
    plan, untuned = session.plan(feeds), plain.plan(feeds)
    floats = [n for n in plan.nodes if n.tasks and n.config.get("ku") is not None]
    assert [n.op for n in floats] == ["QLinearConv"]
    assert len(plan.nodes) == len(untuned.nodes) + 2
    reasons = [n.reason for n in plan.nodes if n.reason]
    assert sorted(reasons) == [
        "f32 slower here: 41 us against 9 us",
        "f32 slower here: 41 us against 9 us",
        "int8 slower here: 41 us against 38 us",
    ]
    (got,), (want,) = session.run(None, feeds), plain.run(None, feeds)
    assert np.ptp(want) > 0
    assert np.abs(got - want).max() <= 18 / 255 * 1.001
