"""Other engines, set up for a fair comparison: float32 arithmetic, the given number of threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from luthier.bench.rounds import Engine

__all__ = ["PEERS", "UnavailableError", "open_peer"]

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


PEERS: dict[str, Callable[[Path, Feeds, int], Engine]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
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
    except ImportError:
        raise UnavailableError(f"{name} is not installed: pip install {name}") from None
    except Exception as error:  # whatever another engine raises says that it cannot take part
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnavailableError(f"{name}: {reason[:200]}") from None
    return engine
