"""What luthier knows of a CPU: the machine it runs on, or a profile in ``targets/*.toml``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from luthier.errors import ArgumentError

__all__ = ["Cluster", "Target", "profile", "profiles"]

_FOLDER = Path(__file__).with_name("targets")


@dataclass(frozen=True)
class Cluster:
    """Cores of one type.

    Attributes
    ----------
    core : str
        Type of the core, such as ``"cortex-a76"`` or ``"amd-25-17"`` (vendor, family, model).
    count : int
        How many there are.
    revision : str
        Revision or stepping; ``""`` if unknown.
    max_mhz : int
        Highest clock; 0 if unknown.
    """

    core: str
    count: int = 1
    revision: str = ""
    max_mhz: int = 0

    def __str__(self) -> str:
        clock = f"@{self.max_mhz}" if self.max_mhz else ""
        return f"{self.count}x{self.core}{'.' if self.revision else ''}{self.revision}{clock}"


@dataclass(frozen=True)
class Target:
    """A CPU.

    Attributes
    ----------
    name : str
        For people: the product, or the profile.
    arch : str
        ``"x86_64"`` or ``"aarch64"``.
    clusters : tuple of Cluster
        The fastest first.
    isas : tuple of str
        Instruction sets that kernels may use, the best last.
    features : tuple of str
        Extensions within them, by the names of Linux.
    l1d, l2, l3 : int
        Sizes of one data cache in bytes; 0 if there is none, or it is unknown.
    l1d_cores, l2_cores, l3_cores : int
        How many cores share one; 0 if unknown.
    fmas : int
        Vector multiply-adds that the fastest cores do in a cycle; 0 if unknown.
    in_order : bool
        The fastest cores issue instructions in order, so that kernels should be written for it.
    precision : str
        Of the factors of products of float32, no property of the CPU but what a user allows:
        ``"fp32"``, or ``"fp16"`` or ``"bf16"`` where the CPU has kernels for them.

    Examples
    --------
    >>> profile("raspberry-pi-4").core
    'cortex-a72'
    """

    name: str
    arch: str
    clusters: tuple[Cluster, ...]
    isas: tuple[str, ...]
    features: tuple[str, ...] = ()
    l1d: int = 0
    l2: int = 0
    l3: int = 0
    l1d_cores: int = 0
    l2_cores: int = 0
    l3_cores: int = 0
    fmas: int = 0
    in_order: bool = False
    precision: str = "fp32"

    @property
    def core(self) -> str:
        """The type of the fastest cores."""
        return self.clusters[0].core

    @property
    def cores(self) -> int:
        """Number of all cores."""
        return sum(c.count for c in self.clusters)

    @property
    def max_mhz(self) -> int:
        """Highest clock of the fastest cores; 0 if unknown."""
        return self.clusters[0].max_mhz

    @property
    def isa(self) -> str:
        """The best instruction set."""
        return self.isas[-1]

    @property
    def fingerprint(self) -> str:
        """The exact device as text: equal text, comparable timings.

        It holds no host name, no kernel version and no present clock.
        """
        caches = (
            f"{level}={getattr(self, level)}/{getattr(self, level + '_cores')}"
            for level in ("l1d", "l2", "l3")
        )
        parts = [self.arch, "+".join(map(str, self.clusters)), self.isa, *self.features, *caches]
        if self.precision != "fp32":
            parts.append(f"precision={self.precision}")
        return " ".join(parts)


@cache
def profiles() -> tuple[str, ...]:
    """Names of the profiles."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def profile(name: str) -> Target:
    """The profile `name`.

    Raises
    ------
    ArgumentError
        There is no such profile.
    """
    if name not in profiles():
        raise ArgumentError(f"unknown target {name!r}, choose from: {', '.join(profiles())}")
    table = _read_toml(_FOLDER / f"{name}.toml")
    table["clusters"] = tuple(Cluster(**c) for c in table["clusters"])
    for key in ("isas", "features"):
        table[key] = tuple(table[key])
    return Target(name, **table)


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(path.read_text(encoding="utf-8"))
