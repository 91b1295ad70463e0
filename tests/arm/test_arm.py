"""The wheel for aarch64 on emulated cores: the kernels' tests, and whole models.

Skipped without the cross compiler and the emulator, unless LUTHIER_REQUIRE_ARM is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import arm_env
import numpy as np
import pytest
import small_model
from arm_root import AARCH64
from emulation import need, on, output
from real_models import find

import luthier
from luthier.bench import zoo

OLD, DOT, NEW = "cortex-a53", "cortex-a76", "max"
"""armv8.0; with SDOT; with all that the emulator has."""

Models = dict[str, Path]


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    need(AARCH64.missing())
    arm_env.prepare()


def run(*arguments: str, core: str) -> str:
    """Standard output of the emulated Python."""
    return output(arm_env.command(list(arguments), core))


@on(OLD, DOT, NEW)
def test_kernels(core: str) -> None:
    """All on the oldest core; scalar C, which is the same everywhere, not again on the others."""
    some = [] if core == OLD else ["-k", "not scalar"]
    options = ["-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider"]
    out = run("-m", "pytest", *options, *some, "tests/kernels", core=core)
    print(out.splitlines()[-1])
    assert " passed" in out and " failed" not in out


@pytest.mark.parametrize(
    ("core", "isas", "features"),
    [
        (OLD, "neon neonmull", "asimd"),
        (DOT, "neon neonmull neondot", "asimd asimdhp asimddp"),
        (NEW, "neon neonmull neondot neoni8mm", "asimd asimdhp asimddp sve i8mm bf16"),
    ],
)
def test_what_a_core_has_is_found(core: str, isas: str, features: str) -> None:
    code = "from luthier.kernels import _kernels as k; print(*k.cpu_int8_isas(), *k.cpu_features())"
    assert run("-c", code, core=core).split() == ["scalar", *isas.split(), *features.split()]


@on(OLD)
def test_the_command_checks_a_model(core: str, tmp_path: Path) -> None:
    model = small_model.write_model(tmp_path / "small.onnx")
    x = np.random.default_rng(0).random((2, 3, 9, 10), np.float32)
    stored = small_model.write_set(tmp_path / "test_data_set_0", x)
    out = run("-m", "luthier.cli", "run", str(model), "--check", str(stored), core=core)
    assert "2 of 2 outputs" in out


REAL = {
    "float": "mobilenet_v2_real_ts13",
    "digits": "mnist12",
    "qoperator": "mobilenet_v2_qop_u8s8_pc",
    "qdq": "mobilenet_v2_qdq_u8s8_pc",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """MobileNetV2 in three forms and a digit classifier; with made-up weights where real models
    are absent, and without the digits."""
    found = {kind: folder / "model.onnx" for kind, name in REAL.items() if (folder := find(name))}
    if len(found) == len(REAL):
        return found
    folder = tmp_path_factory.mktemp("models")
    made = {"float": zoo.write("mobilenet_v2", folder)}
    samples = [{"input": picture((1, 3, 224, 224), seed)} for seed in range(2)]
    for kind in ("qoperator", "qdq"):
        made[kind] = folder / f"{kind}.onnx"
        luthier.quantize(made["float"], samples, made[kind], format=kind)
    return made


def picture(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


@on(OLD, DOT, NEW)
def test_models_give_the_answers_of_this_machine(core: str, models: Models, tmp_path: Path) -> None:
    words: list[str] = []
    right: dict[str, np.ndarray] = {}
    for kind, path in models.items():
        session = luthier.InferenceSession(path, records=None)
        (x,) = session.get_inputs()
        feeds = {x.name: picture([d if isinstance(d, int) else 1 for d in x.shape])}
        (right[kind],) = session.run(None, feeds)
        given, made = (str(tmp_path / f"{kind}.{end}.npz") for end in ("in", "out"))
        np.savez(given, **feeds)
        words += [str(path), given, made]
    run("tests/arm/emulated_answers.py", *words, core=core)
    for kind, want in right.items():
        got = np.load(tmp_path / f"{kind}.out.npz")["arr_0"]
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        error, span = np.abs(got - want).max(), np.ptp(want)
        if kind == "qdq" and core == OLD:
            # Without products of bytes some of its layers are computed in float. Roundings at ties
            # then go the other way, a quantum here and there, which grows from layer to layer.
            assert error < 0.1 * span and got.argmax() == want.argmax()
        elif kind in ("qdq", "qoperator"):
            np.testing.assert_array_equal(got, want)
        else:
            assert error <= 1e-5 * span
