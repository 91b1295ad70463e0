"""What records say of the device and of the kernels."""

from __future__ import annotations

import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from luthier.errors import KernelError
from luthier.tuner.record import Device

__all__ = ["device_of", "kernels_hash"]


def device_of(target: Any) -> Device:
    """The device of a `luthier.target.Target`; a `Device` is returned as it is."""
    if isinstance(target, Device):
        return target
    return Device(fingerprint=target.fingerprint, core=target.core, isa=target.isa)


@functools.cache
def kernels_hash(module: str = "luthier.kernels") -> str:
    """A hash of the compiled kernels of a package (or of a plain module): others are stale."""
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = find_spec(f"{module}._kernels")
    if spec is None or spec.origin is None:
        raise KernelError(f"{module}: the compiled kernels are missing, build the package first")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:12]
