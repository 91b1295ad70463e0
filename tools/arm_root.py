"""Debian's or Ubuntu's Python for arm64, unpacked under ``build/arm/root``: to run it emulated, and
for the headers that extensions for it are built with. No root rights, no chroot; half a minute.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from cross import PREFIXES, ROOT, run
from filelock import FileLock

ARM = ROOT / "build" / "arm"
TREE = ARM / "root"
TOOLS = (f"{PREFIXES['aarch64']}gcc", "apt-get", "dpkg")
PACKAGES = ("python3", "libpython3-stdlib", "libstdc++6")

PORTS = (
    "deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg]"
    " http://ports.ubuntu.com/ubuntu-ports {release} main universe\n"
)
"""Where Ubuntu has its packages for arm64; Debian's mirrors have all machines'."""


def missing(tools: tuple[str, ...] = TOOLS) -> list[str]:
    """Names of the programs that are needed and absent."""
    return [tool for tool in tools if shutil.which(tool) is None]


def python() -> Path:
    """Its Python."""
    return next(p for p in (TREE / "usr/bin").glob("python3.*") if "-" not in p.name)


def prepare() -> None:
    """Download and unpack it, unless that is done."""
    if absent := missing():
        raise SystemExit(f"missing programs: {', '.join(absent)}")
    ARM.mkdir(parents=True, exist_ok=True)
    with FileLock(ARM / "root.lock"):
        if not (ARM / "root.done").exists():
            _make()
            (ARM / "root.done").touch()


def _make() -> None:
    """With a package state of its own."""
    state = ARM / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    apt = [
        "apt-get",
        "-q",
        "-y",
        *("-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"),
        *("-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::State::status={state}/status"),
        *("-o", f"Dir::Cache::archives={state}/archives", "-o", "Debug::NoLocking=1"),
        *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="),
        *("-o", "APT::Install-Recommends=0", "-o", "APT::Sandbox::User=root"),
    ]
    system = platform.freedesktop_os_release()
    if system["ID"] == "ubuntu":
        (state / "sources.list").write_text(PORTS.format(release=system["VERSION_CODENAME"]))
        apt += ["-o", f"Dir::Etc::sourcelist={state}/sources.list", "-o", "Dir::Etc::sourceparts=-"]
    run([*apt, "update"])
    run([*apt, "--download-only", "install", *PACKAGES])
    shutil.rmtree(TREE, ignore_errors=True)
    _unpack(state / "archives")
    run([*apt, "download", f"lib{python().name}-dev"], cwd=state / "archives")
    _unpack(state / "archives")
    if not (TREE / "lib").exists():  # newer systems have all in /usr, and links to it
        (TREE / "lib").symlink_to("usr/lib")
    shutil.rmtree(state)


def _unpack(archives: Path) -> None:
    for package in sorted(archives.glob("*.deb")):
        run(["dpkg", "-x", str(package), str(TREE)])
        package.unlink()


def variables() -> dict[str, str]:
    """Environment of a setup.py that cross-builds for this Python."""
    config = next(TREE.glob("usr/lib/python3*/_sysconfigdata__aarch64-linux-gnu.py"))
    (ARM / "sysconfig").mkdir(exist_ok=True)
    shutil.copy(config, ARM / "sysconfig")
    include = TREE / "usr/include"
    path = [str(ARM / "sysconfig"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "_PYTHON_SYSCONFIGDATA_NAME": config.stem,
        "CC": f"{PREFIXES['aarch64']}gcc -I{include / python().name} -I{include}",
    }
