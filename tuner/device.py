"""What records say of the device and of the kernels."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from luthier.digest import blake2b
from luthier.errors import KernelError
from luthier.kernels import _kernels
from luthier.tuner.record import Device

__all__ = ["device_of", "kernels_hash"]


def device_of(target: Any) -> Device:
    """The device of a `luthier.target.Target`; a `Device` is returned as it is.

    Each precision that users may allow counts as a device of its own, so that no record made with
    one is used with another.
    """
    if isinstance(target, Device):
        return target
    reduced = "" if target.precision == "fp32" else f"+{target.precision}"
    return Device(target.fingerprint, target.core, target.isa + reduced)


@functools.cache
def kernels_hash(module: str = "luthier.kernels") -> str:
    """A hash of the kernels of a module: others are stale.

    Of luthier's own it is that of their sources, for all machines alike; of a plain module that of
    its file.
    """
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        return _kernels.SOURCES
    if spec is None or spec.origin is None:
        raise KernelError(f"{module}: the compiled kernels are missing, build the package first")
    return blake2b(Path(spec.origin).read_bytes(), digest_size=6).hexdigest()
