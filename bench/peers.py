"""Other engines, set up for a fair comparison: float32 arithmetic, the given number of threads."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from luthier.bench.rounds import Engine

__all__ = ["PEERS", "UnavailableError", "open_peer"]

CONVERT_SECONDS = 120
"""Time that a converter gets."""

Feeds = Mapping[str, np.ndarray]


class UnavailableError(Exception):
    """An engine is not installed, or does not take the model; the message is one line."""


def _onnxruntime(path: Path, feeds: Feeds, threads: int) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path),
        options,
        providers=["CPUExecutionProvider"],
    )
    given = dict(feeds)
    return Engine("onnxruntime", lambda: session.run(None, given), version("onnxruntime"))


def _openvino(path: Path, feeds: Feeds, threads: int) -> Engine:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({name: list(array.shape) for name, array in feeds.items()})
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
        },
    )
    request = compiled.create_infer_request()
    given = dict(feeds)

    def run() -> list[np.ndarray]:
        results = request.infer(given, share_inputs=True)
        return [results[output] for output in compiled.outputs]

    return Engine("openvino", run, version("openvino"))


def _ncnn(path: Path, feeds: Feeds, threads: int) -> Engine:
    """ncnn reads no ONNX: its converter pnnx makes what it reads."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    for half in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, half, False)
    with tempfile.TemporaryDirectory() as folder:
        _convert(path, feeds, Path(folder))
        net.load_param(f"{folder}/model.ncnn.param")
        net.load_model(f"{folder}/model.ncnn.bin")
    arrays = list(feeds.values())
    outputs = len(net.output_names())

    def run() -> list[np.ndarray]:
        with net.create_extractor() as extractor:
            for i, array in enumerate(arrays):
                extractor.input(f"in{i}", ncnn.Mat(array, batch_index=0).clone())
            mats = [extractor.extract(f"out{i}")[1] for i in range(outputs)]
            return [mat.numpy(batch_index=0) for mat in mats]

    return Engine("ncnn", run, version("ncnn"))


def _convert(path: Path, feeds: Feeds, folder: Path) -> None:
    """Let pnnx write ``model.ncnn.param`` and ``model.ncnn.bin`` into `folder`."""
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise UnavailableError("ncnn: its converter is not installed: pip install pnnx")
    shutil.copyfile(path, folder / "model.onnx")
    shapes = ",".join(
        f"[{','.join(map(str, a.shape))}]{a.dtype.kind}{8 * a.dtype.itemsize}"
        for a in feeds.values()
    )
    done = subprocess.run(
        [Path(spec.origin).with_name("pnnx"), "model.onnx", f"inputshape={shapes}", "fp16=0"],
        cwd=folder,
        capture_output=True,
        timeout=CONVERT_SECONDS,
        check=False,
    )
    if done.returncode or not (folder / "model.ncnn.param").exists():
        raise UnavailableError("ncnn: pnnx cannot convert the model")


PEERS: dict[str, Callable[[Path, Feeds, int], Engine]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "ncnn": _ncnn,
}
"""Engine name to what sets it up."""


def open_peer(name: str, path: Path, feeds: Feeds, threads: int) -> Engine:
    """Set up one of `PEERS` for a model and its inputs.

    Raises
    ------
    UnavailableError
        The engine is not installed, or fails on the model.
    """
    try:
        engine = PEERS[name](path, feeds, threads)
        engine.run()
    except UnavailableError:
        raise
    except ImportError:
        raise UnavailableError(f"{name} is not installed: pip install {name}") from None
    except Exception as error:  # whatever another engine raises says that it cannot take part
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnavailableError(f"{name}: {reason[:200]}") from None
    return engine
