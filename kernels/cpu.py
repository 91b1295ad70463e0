"""The CPU of this machine: what the kernels found, and what Linux tells of it.

What a container or another system hides is reported as unknown, never guessed.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from luthier import knobs
from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.target import Cluster, Target, profile, profiles

__all__ = ["System", "isas", "native_target", "target_of", "usable_cores"]

SYS_CPU = Path("/sys/devices/system/cpu")
PROC_CPUINFO = Path("/proc/cpuinfo")
PROC_CGROUP = Path("/proc/self/cgroup")
CGROUP = Path("/sys/fs/cgroup")

UNKNOWN = "unknown"
"""The core where none of the sources tells."""

_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}
_VENDOR = {"AuthenticAMD": "amd", "GenuineIntel": "intel"}
_ARM_CORE = {  # (implementer, part) of the main ID register
    ("0x41", "0xd03"): "cortex-a53",
    ("0x41", "0xd04"): "cortex-a35",
    ("0x41", "0xd05"): "cortex-a55",
    ("0x41", "0xd07"): "cortex-a57",
    ("0x41", "0xd08"): "cortex-a72",
    ("0x41", "0xd09"): "cortex-a73",
    ("0x41", "0xd0a"): "cortex-a75",
    ("0x41", "0xd0b"): "cortex-a76",
    ("0x41", "0xd0c"): "neoverse-n1",
    ("0x41", "0xd0d"): "cortex-a77",
    ("0x41", "0xd40"): "neoverse-v1",
    ("0x41", "0xd41"): "cortex-a78",
    ("0x41", "0xd44"): "cortex-x1",
    ("0x41", "0xd46"): "cortex-a510",
    ("0x41", "0xd47"): "cortex-a710",
    ("0x41", "0xd48"): "cortex-x2",
    ("0x41", "0xd49"): "neoverse-n2",
    ("0x41", "0xd4f"): "neoverse-v2",
}


@dataclass(frozen=True)
class System:
    """Where a machine is described: this one, or a device.

    Attributes
    ----------
    machine : str
        As ``uname -m`` tells.
    isas, features : tuple of str
        What its kernels found.
    cores : int
    read : callable
        From the path of a file to its text; nothing where it cannot be read.
    """

    machine: str
    isas: tuple[str, ...]
    features: tuple[str, ...]
    cores: int
    read: Callable[[Path], str]


def isas() -> tuple[str, ...]:
    """Instruction sets that kernels may use here, the best last.

    LUTHIER_ISA sets the best one.

    Raises
    ------
    ArgumentError
        LUTHIER_ISA names no instruction set of this CPU.
    """
    found = tuple(_kernels.cpu_isas())
    forced = knobs.forced_isa()
    if forced is None:
        return found
    if forced not in found:
        raise ArgumentError(f"LUTHIER_ISA: {forced!r} is not one of: {', '.join(found)}")
    return found[: found.index(forced) + 1]


def native_target() -> Target:
    """This machine as a `Target`.

    Raises
    ------
    ArgumentError
        LUTHIER_ISA names no instruction set of this CPU.

    Examples
    --------
    >>> native_target().isas  # doctest: +SKIP
    ('scalar', 'avx2', 'avx512')
    """
    return _target(isas())


@cache
def _target(found: tuple[str, ...]) -> Target:
    features = tuple(f for f in _kernels.cpu_features() if _allowed(f, found))
    system = System(platform.machine(), found, features, os.cpu_count() or 1, _read)
    target = target_of(system)
    if target.core == UNKNOWN:
        return target
    names = {"l1d": "LEVEL1_DCACHE", "l2": "LEVEL2_CACHE", "l3": "LEVEL3_CACHE"}
    caches: dict[str, Any] = {
        name: max(0, os.sysconf(f"SC_{key}_SIZE"))
        for name, key in names.items()
        if f"SC_{key}_SIZE" in os.sysconf_names and not getattr(target, name)
    }
    return replace(target, **caches)


def target_of(system: System) -> Target:
    """The machine that a `System` describes."""
    machine = system.machine.lower()
    arch = _ARCH.get(machine, machine)
    processors = _cpuinfo(system.read(PROC_CPUINFO))
    counts = Counter(
        Cluster(*_core(p, arch), max_mhz=_max_mhz(p["processor"], system)) for p in processors
    )
    ordered = sorted(counts.items(), key=lambda item: (-item[0].max_mhz, item[0].core))
    clusters = tuple(replace(cluster, count=count) for cluster, count in ordered)
    target = Target("unknown", arch, clusters, system.isas, system.features)
    if not clusters or target.core == UNKNOWN:
        # No Linux, or an emulator that shows the files of another CPU: believe none of them.
        return replace(target, clusters=(Cluster(UNKNOWN, system.cores),))
    name = processors[0].get("model name", target.core)
    known = profile(target.core) if target.core in profiles() else target
    caches: dict[str, Any] = _caches(system)
    return replace(target, name=name, fmas=known.fmas, in_order=known.in_order, **caches)


def _allowed(feature: str, found: tuple[str, ...]) -> bool:
    """Whether `feature` is within the instruction sets in use."""
    if feature.startswith("avx512"):
        return "avx512" in found
    return len(found) > 1


def _cpuinfo(text: str) -> list[dict[str, str]]:
    """One dict a processor."""
    blocks = (
        dict(_pair(line) for line in b.splitlines() if ":" in line) for b in text.split("\n\n")
    )
    return [b for b in blocks if "processor" in b]


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _core(info: dict[str, str], arch: str) -> tuple[str, int, str]:
    """Core type, 1, and revision of one processor."""
    if "CPU part" in info:
        key = (info.get("CPU implementer", "").lower(), info["CPU part"].lower())
        revision = f"r{int(info.get('CPU variant', '0'), 0)}p{info.get('CPU revision', '0')}"
        return _ARM_CORE.get(key, "arm-" + "-".join(key)), 1, revision
    if "cpu family" in info and arch == "x86_64":
        vendor = info.get("vendor_id", "x86")
        core = "-".join((_VENDOR.get(vendor, vendor.lower()), info["cpu family"], info["model"]))
        return core, 1, info.get("stepping", "")
    return UNKNOWN, 1, ""


def _max_mhz(cpu: str, system: System) -> int:
    text = system.read(SYS_CPU / f"cpu{cpu}/cpufreq/cpuinfo_max_freq").strip()
    return int(text) // 1000 if text.isdecimal() else 0


def _caches(system: System) -> dict[str, int]:
    """Sizes and sharing of the first core's data caches."""
    found: dict[str, int] = {}
    for index in range(8):
        folder = SYS_CPU / f"cpu0/cache/index{index}"
        level, kind = (system.read(folder / name).strip() for name in ("level", "type"))
        name = {"1": "l1d", "2": "l2", "3": "l3"}.get(level)
        size = re.fullmatch(r"(\d+)([KM]?)", system.read(folder / "size").strip())
        if name and kind in ("Data", "Unified") and size:
            found[name] = int(size[1]) << {"": 0, "K": 10, "M": 20}[size[2]]
            found[f"{name}_cores"] = _count(system.read(folder / "shared_cpu_list"))
    return found


def _count(cpu_list: str) -> int:
    """How many CPUs a list such as ``0-3,8`` has."""
    spans = (part.split("-") for part in cpu_list.strip().split(",") if part)
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


def usable_cores() -> int:
    """How many cores this process may keep busy: its affinity, cut by its cgroup's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def _quota() -> float:
    """Cores that the control groups allow; infinite without a limit."""
    limit = math.inf
    for line in _read(PROC_CGROUP).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUP / controllers if controllers else CGROUP
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if controllers:
                words = [_read(folder / f"cpu.cfs_{n}_us").strip() for n in ("quota", "period")]
            else:
                words = _read(folder / "cpu.max").split()
            if len(words) == 2 and all(w.isdecimal() for w in words) and int(words[1]):
                limit = min(limit, int(words[0]) / int(words[1]))
            if folder == root:
                break
    return limit


def _read(path: Path) -> str:
    """The file's text, or nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
