"""Debian's or Ubuntu's Python for an Arm machine, unpacked under ``build/arm``: to run it emulated,
and for the headers that extensions for it are built with. No root rights, no chroot.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from cross import PREFIXES, ROOT, run
from filelock import FileLock

PACKAGES = ("python3", "libpython3-stdlib", "libstdc++6")

MIRRORS = {
    "debian": "http://deb.debian.org/debian {release} main",
    "ubuntu": "http://ports.ubuntu.com/ubuntu-ports {release} main universe",
}
"""Where systems have their packages for Arm."""


@dataclass(frozen=True)
class ArmRoot:
    """A machine's.

    Attributes
    ----------
    machine : str
        As ``uname -m`` has it there.
    architecture : str
        As packages have it.
    emulator : str
    packages : tuple of str
        What is wanted beside Python.
    """

    machine: str
    architecture: str
    emulator: str
    packages: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where all that belongs to it is."""
        return ROOT / "build" / "arm" / self.machine

    @property
    def tree(self) -> Path:
        """What is its ``/``."""
        return self.folder / "root"

    @property
    def python(self) -> Path:
        """Its Python."""
        return next(p for p in (self.tree / "usr/bin").glob("python3.*") if "-" not in p.name)

    def missing(self) -> list[str]:
        """Names of the programs that are needed and absent."""
        return absent(f"{PREFIXES[self.machine]}gcc", self.emulator, "apt-get", "dpkg")

    def prepare(self) -> None:
        """Download and unpack it, unless that is done."""
        if missing := self.missing():
            raise SystemExit(f"missing programs: {', '.join(missing)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "root.lock"):
            if not (self.folder / "root.done").exists():
                self._make()
                (self.folder / "root.done").touch()

    def _make(self) -> None:
        """With a package state of its own."""
        state = self.folder / "apt"
        for room in ("lists/partial", "archives/partial"):
            (state / room).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        name = self.architecture
        apt = [
            "apt-get",
            "-q",
            "-y",
            *("-o", f"APT::Architecture={name}", "-o", f"APT::Architectures={name}"),
            *("-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::State::status={state}/status"),
            *("-o", f"Dir::Cache::archives={state}/archives", "-o", "Debug::NoLocking=1"),
            *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="),
            *("-o", f"Dir::Etc::sourcelist={state}/sources.list", "-o", "Dir::Etc::sourceparts=-"),
            *("-o", "APT::Install-Recommends=0", "-o", "APT::Sandbox::User=root"),
        ]
        (state / "sources.list").write_text(_source())
        run([*apt, "update"])
        run([*apt, "--download-only", "install", *PACKAGES, *self.packages])
        shutil.rmtree(self.tree, ignore_errors=True)
        self._unpack(state / "archives")
        run([*apt, "download", f"lib{self.python.name}-dev"], cwd=state / "archives")
        self._unpack(state / "archives")
        (self.tree / "usr/include" / self.python.name / "numpy").unlink(
            missing_ok=True
        )  # an old one
        if not (self.tree / "lib").exists():  # newer systems have all in /usr, and links to it
            (self.tree / "lib").symlink_to("usr/lib")
        shutil.rmtree(state)

    def _unpack(self, archives: Path) -> None:
        for package in sorted(archives.glob("*.deb")):
            run(["dpkg", "-x", str(package), str(self.tree)])
            package.unlink()

    def variables(self) -> dict[str, str]:
        """Environment of a setup.py that cross-builds for this Python."""
        name = f"_sysconfigdata__{PREFIXES[self.machine].rstrip('-')}.py"
        (config,) = self.tree.glob(f"usr/lib/python3.*/{name}")
        (self.folder / "sysconfig").mkdir(exist_ok=True)
        shutil.copy(config, self.folder / "sysconfig")
        include = self.tree / "usr/include"
        headers = [include / self.python.name, include]
        path = [str(self.folder / "sysconfig"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "PYTHONPATH": os.pathsep.join(path),
            "_PYTHON_SYSCONFIGDATA_NAME": config.stem,
            "CC": " ".join([f"{PREFIXES[self.machine]}gcc", *(f"-I{h}" for h in headers)]),
        }


def absent(*programs: str) -> list[str]:
    """Those of these programs that are not there."""
    return [program for program in programs if shutil.which(program) is None]


def _source() -> str:
    """This system's packages, as a line of sources.list; updates and others' are not needed."""
    system = platform.freedesktop_os_release()
    name, release = system["ID"], system.get("VERSION_CODENAME")
    if name not in MIRRORS or not release:
        raise SystemExit(f"packages for Arm are those of Debian or Ubuntu, and this is {name}")
    (key, *_) = Path("/usr/share/keyrings").glob(f"{name}-archive-keyring.[gp]*")
    return f"deb [signed-by={key}] {MIRRORS[name].format(release=release)}\n"


AARCH64 = ArmRoot("aarch64", "arm64", "qemu-aarch64")
ARMV7 = ArmRoot("armv7l", "armhf", "qemu-arm", ("python3-numpy", "python3-pytest"))
