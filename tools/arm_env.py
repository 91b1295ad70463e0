"""An emulated 64-bit Arm Python with luthier built for it, under ``build/arm``.

    python tools/arm_env.py -m pytest tests/kernels     runs that on an emulated cortex-a53
    python tools/arm_env.py --cpu neoverse-n1 -c "..."

Made of Debian's arm64 packages in a folder of their own (no chroot, no binfmt, no root), wheels for
aarch64, and a cross build. It takes a minute, once; later calls rebuild what changed. Needs
gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARM = ROOT / "build" / "arm"
CROSS = "aarch64-linux-gnu-"
TOOLS = (f"{CROSS}gcc", "qemu-aarch64", "apt-get", "dpkg")
DISTRIBUTION = ("python3", "libpython3-stdlib", "libstdc++6", "libgomp1")
WHEELS = ("numpy", "onnx", "msgspec", "filelock", "platformdirs", "pytest")


def missing_tools() -> list[str]:
    """Names of the programs that are needed and absent."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def prepare() -> None:
    """Make the environment, or bring its build of luthier up to date."""
    absent = missing_tools()
    if absent:
        raise SystemExit(f"arm_env: missing programs: {', '.join(absent)}")
    if not (ARM / "root.done").exists():
        _make_root()
        (ARM / "root.done").touch()
    if not (ARM / "site.done").exists():
        _make_site()
        (ARM / "site.done").touch()
    _build()


def command(arguments: list[str], cpu: str = "cortex-a53") -> list[str]:
    """The command line that runs the emulated Python with these arguments."""
    path = f"{ARM / 'inst'}:{ARM / 'site'}"
    variables = [f"PYTHONPATH={path}", "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1"]
    settings = [word for v in variables for word in ("-E", v)]
    return ["qemu-aarch64", "-cpu", cpu, "-L", str(_root()), *settings, str(_python()), *arguments]


def _root() -> Path:
    return ARM / "root"


def _python() -> Path:
    return next(p for p in (_root() / "usr/bin").glob("python3.*") if "-" not in p.name)


def _make_root() -> None:
    """Download Debian's Python for arm64 with a package state of its own, and unpack it."""
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
    _run([*apt, "update"])
    _run([*apt, "--download-only", "install", *DISTRIBUTION])
    shutil.rmtree(_root(), ignore_errors=True)
    _unpack(state / "archives")
    _run([*apt, "download", f"lib{_python().name}-dev"], cwd=state / "archives")
    _unpack(state / "archives")
    shutil.rmtree(state)


def _unpack(archives: Path) -> None:
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(_root())])
        package.unlink()


def _make_site() -> None:
    """Install wheels for aarch64."""
    minor = _python().name.removeprefix("python3.")
    shutil.rmtree(ARM / "site", ignore_errors=True)
    platforms = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
    _run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--target", str(ARM / "site")),
            *(word for p in platforms for word in ("--platform", p)),
            *("--python-version", f"3.{minor}", "--implementation", "cp"),
            *("--abi", f"cp3{minor}", "--abi", "abi3", "--abi", "none", "--only-binary=:all:"),
            *WHEELS,
        ]
    )


def _build() -> None:
    """Cross-build luthier into ``inst``."""
    config = next(_root().glob("usr/lib/python3*/_sysconfigdata__aarch64-linux-gnu.py"))
    (ARM / "sysconfig").mkdir(exist_ok=True)
    shutil.copy(config, ARM / "sysconfig")
    include = _root() / "usr/include"
    compiler = f"{CROSS}gcc -I{include / _python().name} -I{include}"
    environment = os.environ | {
        "PYTHONPATH": str(ARM / "sysconfig"),
        "_PYTHON_SYSCONFIGDATA_NAME": config.stem,
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "CC": compiler,
        "LDSHARED": f"{CROSS}gcc -shared",
        "AR": f"{CROSS}ar",
        "CFLAGS": "",
        "LDFLAGS": "",
    }
    environment.pop("LUTHIER_SANITIZE", None)
    build = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(ARM / "inst")]
    _run(build, cwd=ROOT, env=environment)


def _run(words: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"arm_env: {' '.join(words[:4])} failed\n{done.stdout}{done.stderr}")


def main(arguments: list[str]) -> int:
    """Run the emulated Python; returns its exit code."""
    cpu = "cortex-a53"
    if arguments[:1] == ["--cpu"]:
        _, cpu, *arguments = arguments
    prepare()
    return subprocess.call(command(arguments, cpu), cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
