"""luthier: an auto-tuned CPU inference library.

Examples
--------
>>> import luthier
>>> session = luthier.InferenceSession("model.onnx", num_threads=2)  # doctest: +SKIP
>>> session.run(None, {"x": x})  # doctest: +SKIP

The parts are imported when they are first used, so that `import luthier` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.errors import (
    ArgumentError,
    InvalidModelError,
    KernelError,
    LuthierError,
    RecordError,
    UnsupportedError,
    VerifyError,
)

if TYPE_CHECKING:
    from luthier import kernels
    from luthier.exporting import export
    from luthier.kernels.cpu import isas, native_target
    from luthier.quantizer import quantize
    from luthier.session import InferenceSession
    from luthier.target import Target
    from luthier.tuning import tune

__version__: str

__all__ = [
    "ArgumentError",
    "InferenceSession",
    "InvalidModelError",
    "KernelError",
    "LuthierError",
    "RecordError",
    "Target",
    "UnsupportedError",
    "VerifyError",
    "export",
    "isas",
    "kernels",
    "native_target",
    "quantize",
    "tune",
]

_LAZY = {
    "InferenceSession": "luthier.session",
    "Target": "luthier.target",
    "export": "luthier.exporting",
    "isas": "luthier.kernels.cpu",
    "native_target": "luthier.kernels.cpu",
    "quantize": "luthier.quantizer",
    "tune": "luthier.tuning",
}
_MODULES = ("kernels", "graph", "tuner", "onnx_frontend", "bench")


def __getattr__(name: str) -> Any:
    value: Any
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
    elif name in _MODULES:
        value = import_module(f"luthier.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("luthier")
    else:
        raise AttributeError(f"module 'luthier' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
