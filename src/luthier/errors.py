"""The error tree. Every error that luthier raises on purpose is a `LuthierError`."""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "InvalidModelError",
    "KernelError",
    "LuthierError",
    "RecordError",
    "UnsupportedError",
    "VerifyError",
]


class LuthierError(Exception):
    """Base class of all errors that luthier raises on purpose."""


class InvalidModelError(LuthierError, ValueError):
    """The model file is not a valid ONNX model, or breaks a limit."""


class UnsupportedError(LuthierError, NotImplementedError):
    """The model is valid but uses something that no backend can run.

    The message lists every unsupported node at once, with its name and the reason.
    """


class ArgumentError(LuthierError, ValueError):
    """A caller's argument (feed, shape, dtype, config, flag) is not acceptable."""


class RecordError(LuthierError):
    """A tuning-record file cannot be read or written; the message starts with ``path:line``."""


class VerifyError(LuthierError):
    """The graph verifier found an inconsistent graph: a bug in a pass, not in the model."""


class KernelError(LuthierError):
    """A kernel driver refused its arguments or failed."""
