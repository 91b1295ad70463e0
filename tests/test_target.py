"""Targets, profiles, and what is read from the system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from luthier.errors import ArgumentError
from luthier.kernels import _kernels, cpu
from luthier.target import Cluster, Target, profile, profiles

_ARM_NAMES = set(cpu._ARM_CORE.values())
CORE = "processor\t: {}\nCPU implementer\t: 0x41\nCPU variant\t: 0x0\nCPU part\t: {}\n"
BIG, LITTLE = CORE + "CPU revision\t: 3\n", CORE + "CPU revision\t: 4\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without any file, to be filled by the test."""
    monkeypatch.delenv("LUTHIER_ISA", raising=False)
    for name in ("SYS_CPU", "PROC_CPUINFO", "PROC_CGROUP", "CGROUP"):
        monkeypatch.setattr(cpu, name, tmp_path / name)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    cpu._target.cache_clear()
    yield tmp_path
    cpu._target.cache_clear()


@pytest.mark.parametrize("name", profiles())
def test_profiles_are_complete(name: str) -> None:
    target = profile(name)
    assert target.arch in ("x86_64", "aarch64")
    assert target.isas[0] == "scalar" and set(target.isas) <= set(_kernels.ISA_NAMES)
    assert target.cores >= 1 and target.l1d > 0 and target.l2 > 0


@pytest.mark.parametrize("name", [n for n in profiles() if profile(n).arch == "aarch64"])
def test_arm_profiles_are_plausible(name: str) -> None:
    """Sizes and sharing that a machine can have; features that the core's architecture has."""
    target = profile(name)
    assert target.isas == ("scalar", "neon") and target.features[0] == "asimd"
    assert target.l1d in (32 << 10, 64 << 10) and target.l1d_cores == 1
    assert 64 << 10 <= target.l2 <= 4 << 20 and 1 <= target.l2_cores <= target.cores
    assert not target.l3 or target.l2 * target.cores // target.l2_cores <= 4 * target.l3
    assert target.l3_cores <= target.cores and bool(target.l3) == bool(target.l3_cores)
    if name == "arm":
        return
    assert 1000 <= target.max_mhz <= 4000
    assert [c.max_mhz for c in target.clusters] == sorted(
        (c.max_mhz for c in target.clusters), reverse=True
    )
    assert all(c.core in _ARM_NAMES for c in target.clusters)
    first = {"cortex-a53", "cortex-a57", "cortex-a72", "cortex-a73"}
    late = {"neoverse-n2", "neoverse-v1", "neoverse-v2"}
    features = set(target.features)
    assert ("asimddp" in features) == ("asimdhp" in features) == (target.core not in first)
    assert ("i8mm" in features) == ("sve" in features) == (target.core in late)
    assert target.fmas == {"cortex-x1": 4, "neoverse-v1": 4, "neoverse-v2": 4}.get(
        target.core, 1 if target.core in first | {"cortex-a55"} else 2
    )
    assert target.in_order == (target.core in ("cortex-a53", "cortex-a55"))


def test_boards_have_profiles() -> None:
    boards = {"raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "rk3399", "rk3588"}
    assert boards | {"graviton2", "graviton3"} <= set(profiles())
    rk3588 = profile("rk3588")
    assert [(c.core, c.count) for c in rk3588.clusters] == [("cortex-a76", 4), ("cortex-a55", 4)]


@pytest.mark.parametrize(
    ("part", "core"), [("0xd44", ("cortex-x1", 4, False)), ("0xd03", ("cortex-a53", 1, True))]
)
def test_how_a_core_issues_is_said_by_its_profile(
    part: str, core: tuple, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    write(machine / "PROC_CPUINFO", BIG.format(0, part))
    found = cpu.native_target()
    assert (found.core, found.fmas, found.in_order) == core


def test_unknown_profile() -> None:
    with pytest.raises(ArgumentError, match="unknown target 'z80', choose from: arm, cortex-a53"):
        profile("z80")


def test_fingerprint_tells_devices_apart() -> None:
    target = Target("a board", "aarch64", (Cluster("cortex-a72", 4),), ("scalar", "neon"))
    same = replace(target, name="another name")
    assert same.fingerprint == target.fingerprint
    others = [
        replace(target, clusters=(Cluster("cortex-a72", 4, "r0p3"),)),
        replace(target, clusters=(Cluster("cortex-a72", 2),)),
        replace(target, clusters=(Cluster("cortex-a72", 4, max_mhz=1800),)),
        replace(target, isas=("scalar",)),
        replace(target, features=("asimddp",)),
        replace(target, l2=1 << 20),
        replace(target, l2_cores=4),
    ]
    prints = {t.fingerprint for t in [target, *others]}
    assert len(prints) == 1 + len(others)


def test_arm_with_two_clusters(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    write(
        machine / "PROC_CPUINFO",
        "\n".join([LITTLE.format(0, "0xd03"), LITTLE.format(1, "0xd03"), BIG.format(2, "0xd08")]),
    )
    for core, khz in ((0, 1400000), (1, 1400000), (2, 1800000)):
        write(machine / f"SYS_CPU/cpu{core}/cpufreq/cpuinfo_max_freq", f"{khz}\n")
    target = cpu.native_target()
    assert target.clusters == (
        Cluster("cortex-a72", 1, "r0p3", 1800),
        Cluster("cortex-a53", 2, "r0p4", 1400),
    )
    assert target.core == "cortex-a72" and target.cores == 3


def test_unknown_arm_core_keeps_its_numbers(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    write(machine / "PROC_CPUINFO", BIG.format(0, "0xfff"))
    assert cpu.native_target().core == "arm-0x41-0xfff"


def test_caches(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.platform, "machine", lambda: "x86_64")
    write(
        machine / "PROC_CPUINFO",
        "processor: 0\nvendor_id: GenuineIntel\ncpu family: 6\nmodel: 106\nstepping: 6\n"
        "model name: A Xeon\n",
    )
    for i, (level, kind, size, cpus) in enumerate(
        [
            (1, "Data", "48K", "0,32"),
            (1, "Instruction", "32K", "0,32"),
            (2, "Unified", "1280K", "0,32"),
            (3, "Unified", "54M", "0-15,32-47"),
        ]
    ):
        for key, text in zip(
            ("level", "type", "size", "shared_cpu_list"), (level, kind, size, cpus), strict=True
        ):
            write(machine / f"SYS_CPU/cpu0/cache/index{i}/{key}", f"{text}\n")
    target = cpu.native_target()
    assert (target.name, target.core) == ("A Xeon", "intel-6-106")
    assert (target.l1d, target.l2, target.l3) == (48 << 10, 1280 << 10, 54 << 20)
    assert (target.l1d_cores, target.l2_cores, target.l3_cores) == (2, 2, 32)


def test_nothing_is_guessed(machine: Path) -> None:
    target = cpu.native_target()
    assert target.core == "unknown"
    assert (target.l1d, target.l2, target.l3) == (0, 0, 0)


def test_isa_can_be_lowered(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_ISA", "scalar")
    assert cpu.isas() == ("scalar",)
    assert cpu.native_target().features == ()
    monkeypatch.setenv("LUTHIER_ISA", "mmx")
    with pytest.raises(ArgumentError, match="LUTHIER_ISA: 'mmx' is not one of: scalar"):
        cpu.isas()


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("", {}, 4),
        ("0::/a/b", {"a/b/cpu.max": "max 100000"}, 4),
        ("0::/a/b", {"a/b/cpu.max": "150000 100000"}, 2),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),
        ("0::/a", {"a/cpu.max": "5000 100000"}, 1),
        (
            "2:cpu,cpuacct:/x\n0::/",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            "2:cpu:/x",
            {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"},
            4,
        ),
    ],
)
def test_usable_cores(machine: Path, cgroup: str, files: dict[str, str], cores: int) -> None:
    write(machine / "PROC_CGROUP", cgroup)
    for name, text in files.items():
        write(machine / "CGROUP" / name, text + "\n")
    assert cpu.usable_cores() == cores
