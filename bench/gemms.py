"""Matrix products beside NumPy and PyTorch, as Python calls them.

luthier's kernel has its right side packed before, as it is in a model; NumPy and PyTorch get plain
matrices. All write into a given array.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from luthier.bench.peers import UnavailableError
from luthier.bench.remote import Remote
from luthier.bench.rounds import Engine, race
from luthier.kernels import Runner, Workload
from luthier.kernels.noise import Noise

__all__ = ["SHAPES", "compare", "key", "write_model"]

SHAPES = {
    **{f"{n} x {n} x {n}": (n, n, n) for n in (64, 128, 256, 512, 1024, 2048)},
    "MobileNetV2 56x56 expand": (3136, 144, 24),
    "MobileNetV2 28x28 project": (784, 32, 192),
    "MobileNetV2 14x14 expand": (196, 576, 96),
    "MobileNetV2 7x7 last": (49, 1280, 320),
    "ResNet-50 56x56 widen": (3136, 256, 64),
    "ResNet-50 28x28 narrow": (784, 128, 512),
    "ResNet-50 14x14 narrow": (196, 256, 1024),
    "ResNet-50 7x7 narrow": (49, 512, 2048),
    "ResNet-50 classifier, M = 1": (1, 1000, 2048),
    "M = 1": (1, 4096, 1024),
}
"""Name to (m, n, k)."""


def key(shape: tuple[int, int, int], threads: int) -> str:
    """The key of the workload."""
    m, n, k = shape
    return f"gemm/f32/b1m{m}n{n}k{k}/packed/epi=none/t{threads}"


def write_model(path: Path) -> Path:
    """One model that holds all `SHAPES`, for the tuner."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, inputs, outputs, weights = [], [], [], []
    for i, (m, n, k) in enumerate(SHAPES.values()):
        nodes.append(helper.make_node("MatMul", [f"a{i}", f"w{i}"], [f"y{i}"], f"matmul_{i}"))
        inputs.append(helper.make_tensor_value_info(f"a{i}", TensorProto.FLOAT, [m, k]))
        outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [m, n]))
        array = rng.standard_normal((k, n), np.float32)
        weights.append(numpy_helper.from_array(array, f"w{i}"))
    graph = helper.make_graph(nodes, "gemms", inputs, outputs, weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def compare(
    name: str, threads: int, config: Mapping[str, Any] | None, seconds: float, rounds: int = 1000
) -> dict[str, Any]:
    """Measure one of `SHAPES`.

    Parameters
    ----------
    name : str
    threads : int
    config : mapping or None
        Of luthier's kernel; None is the untuned one.
    seconds, rounds
        As for `luthier.bench.rounds.race`.

    Returns
    -------
    dict
        name, shape, threads, engines (rows of `race`) and absent (engine to reason).
    """
    shape = SHAPES[name]
    absent: dict[str, str] = {}
    with ExitStack() as stack, _blas_threads(threads):
        racers = []
        for engine, opener in {
            "luthier": partial(_luthier, key(shape, threads), config),
            "numpy": partial(_numpy, shape),
            "torch": partial(_torch, shape, threads),
        }.items():
            try:
                racers.append(stack.enter_context(Remote(engine, opener)))
            except UnavailableError as error:
                absent[engine] = str(error)
        m, n, k = shape
        engines = race(racers, rounds, 2 * m * n * k, seconds)
    return {
        "name": name,
        "shape": shape,
        "threads": threads,
        "engines": engines,
        "absent": absent,
    }


@contextmanager
def _blas_threads(count: int) -> Iterator[None]:
    """NumPy's BLAS reads its number of threads from the environment, when it is loaded."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _matrices(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same numbers as `Runner` makes of the same shape."""
    m, n, k = shape
    a, w = Noise((m, k), 0).array, Noise((k, n), 1).array
    return a, w / np.float32(np.sqrt(k)), np.empty((m, n), np.float32)


def _luthier(key: str, config: Mapping[str, Any] | None) -> Engine:
    runner = Runner(Workload.parse(key), config)

    def run() -> list[np.ndarray]:
        return [runner.run()[0]]

    return Engine("luthier", run, version("luthier"))


def _numpy(shape: tuple[int, int, int]) -> Engine:
    a, w, y = _matrices(shape)
    return Engine("numpy", lambda: [np.matmul(a, w, out=y)], version("numpy"))


def _torch(shape: tuple[int, int, int], threads: int) -> Engine:
    try:
        import torch
    except ImportError:
        raise UnavailableError("torch is not installed: pip install torch") from None
    torch.set_num_threads(threads)
    a, w, y = _matrices(shape)
    at, wt, yt = map(torch.from_numpy, (a, w, y))

    def run() -> list[np.ndarray]:
        torch.mm(at, wt, out=yt)
        return [y]

    return Engine("torch", run, version("torch"))
