"""Packages, C libraries and extensions. Everything declarative is in pyproject.toml.

`LUTHIER_SANITIZE=address,undefined` builds with sanitizers, `LUTHIER_DEBUG=1` with debug
information, `LUTHIER_AVXVNNI_AS_EVEX=1` for tools/avxvnni.py. When cross compiling, the target's
architecture is read from `_PYTHON_HOST_PLATFORM` through `sysconfig.get_platform()`.
"""

from __future__ import annotations

import hashlib
import os
import runpy
import shlex
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools._distutils import ccompiler
from setuptools._distutils.sysconfig import customize_compiler
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

PACKAGE_DIR = {
    "luthier": "src/luthier",
    "luthier.kernels": "kernels",
    "luthier.graph": "graph",
    "luthier.tuner": "tuner",
    "luthier.onnx_frontend": "onnx_frontend",
    "luthier.bench": "bench",
}

RULES = ["setup.py", "kernels/flags.py"]
"""All that is compiled depends on these."""
FLAGS = SimpleNamespace(**runpy.run_path(RULES[1]))

MACHINE = sysconfig.get_platform().rsplit("-", 1)[-1]
ISA_FLAGS = FLAGS.isa_flags(MACHINE)

SANITIZE = os.environ.get("LUTHIER_SANITIZE", "")
SANITIZE_FLAGS = [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g"] if SANITIZE else []
# Python's own flags ask for debug information, which makes the wheel over ten times as large.
DEBUG_FLAGS = ["-g"] if os.environ.get("LUTHIER_DEBUG") or SANITIZE else ["-g0"]

CFLAGS = ["-O1" if SANITIZE else "-O3", *FLAGS.CFLAGS]
CFLAGS += ["-Wall", "-Wextra", "-Werror=implicit-function-declaration", *SANITIZE_FLAGS]
CFLAGS += DEBUG_FLAGS
AS_EVEX = bool(os.environ.get("LUTHIER_AVXVNNI_AS_EVEX"))
if AS_EVEX:
    ISA_FLAGS["avxvnni"] = FLAGS.AVXVNNI_AS_EVEX
    CFLAGS.append("-DLT_AVXVNNI_AS_EVEX")
LDFLAGS = ["-pthread", "-lm", *SANITIZE_FLAGS]
INCLUDE = ["kernels/include", "kernels/csrc", "graph/csrc"]
BUILD = Path(
    "build", "-".join(["c", sysconfig.get_platform(), *filter(None, [SANITIZE, "evex" * AS_EVEX])])
)


def libraries() -> list[tuple[str, dict]]:
    """One static library a instruction set, after the one of drivers that need none."""
    sources = FLAGS.kernel_sources(Path("kernels/csrc"), ISA_FLAGS)
    return [
        (
            f"lt_{part}",
            {
                "sources": [str(file) for file in files],
                "cflags": [*CFLAGS, *ISA_FLAGS.get(part, [])],
                "include_dirs": INCLUDE,
            },
        )
        for part, files in sources.items()
    ]


LIMITED = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
"""Extensions are for Python 3.11, the first whose stable interface has buffers, and all later."""
LIMITED_MACROS = [("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")] if LIMITED else []

LIBRARIES = libraries()
RUNNER = Path("kernels/runner/main.c")
MADE_RUNNER = Path("kernels/bin", f"luthier-runner-{MACHINE}")

KERNEL_FILES = sorted(str(p) for part in INCLUDE[:2] for p in Path(part).rglob("*.[ch]"))
"""All that kernels are made of, on any machine."""


def sources_hash() -> str:
    """Of all that kernels are made of: what was made for others is stale."""
    digest = hashlib.sha256()
    for path in map(Path, [*KERNEL_FILES, *RULES]):
        digest.update(path.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


SOURCES = ("LT_SOURCES", f'"{sources_hash()}"')


def stale(target: Path, dependencies: list[str]) -> bool:
    """Whether `target` is missing or older than one of `dependencies`."""
    if not target.exists():
        return True
    made = target.stat().st_mtime
    return any(not Path(d).exists() or Path(d).stat().st_mtime > made for d in dependencies)


def needs(obj: Path) -> list[str]:
    """What an object was made from, as the compiler noted beside it (-MMD)."""
    note = obj.with_suffix(".d")
    if not note.exists():
        return [str(note)]
    return [*shlex.split(note.read_text().partition(":")[2].replace("\\\n", " ")), *RULES]


class BuildLibraries(build_clib):
    """Compiles what changed, on all cores, in a folder that outlives the command."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_clib = self.build_temp = str(BUILD)

    def build_libraries(self, libraries: list[tuple[str, dict]]) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            built = [(name, self._compile(pool, info)) for name, info in libraries]
            for name, jobs in built:
                objects = [str(obj) for obj, job in jobs if job is None or job.result()]
                archive = BUILD / f"lib{name}.a"
                if stale(archive, [*objects, *RULES]):
                    archive.unlink(missing_ok=True)
                    self.compiler.create_static_lib(objects, name, output_dir=str(BUILD))

    def _compile(self, pool: ThreadPoolExecutor, info: dict) -> list:
        jobs = []
        for source in info["sources"]:
            obj = BUILD / Path(source).with_suffix(".o")
            job = None
            if stale(obj, [source, *needs(obj)]):
                job = pool.submit(
                    self.compiler.compile,
                    [source],
                    output_dir=str(BUILD),
                    include_dirs=info["include_dirs"],
                    extra_preargs=["-MMD"],
                    extra_postargs=info["cflags"],
                )
            jobs.append((obj, job))
        return jobs


class BuildExtensions(build_ext):
    """Builds the libraries first, so that `build_ext --inplace` alone is a whole rebuild."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = str(BUILD)

    def run(self) -> None:
        self.run_command("build_clib")
        super().run()
        for ext in self.extensions if LIMITED and self.inplace else []:
            made = Path(self.get_ext_fullpath(ext.name))
            # Python would prefer what was once built for this version alone.
            for other in made.parent.glob(f"{made.name.partition('.')[0]}.cpython-*.so"):
                other.unlink()


class BuildRunner(build_clib):
    """Builds the kernels as a program without any dependency, for devices without Python."""

    def run(self) -> None:
        self.run_command("build_clib")
        archives = [str(BUILD / f"lib{name}.a") for name, _ in LIBRARIES]
        made_of = [str(RUNNER), *KERNEL_FILES, *archives, *RULES]
        if not stale(MADE_RUNNER, made_of):
            return
        compiler = ccompiler.new_compiler()
        customize_compiler(compiler)
        objects = compiler.compile(
            [str(RUNNER)],
            output_dir=str(BUILD),
            macros=[SOURCES],
            include_dirs=INCLUDE,
            extra_postargs=CFLAGS,
        )
        MADE_RUNNER.parent.mkdir(exist_ok=True)
        group = ["-Wl,--start-group", *archives, "-Wl,--end-group"]
        options = ["-static", "-s", *group, *LDFLAGS]
        compiler.link_executable(objects, str(MADE_RUNNER), extra_postargs=options)


def extension(name: str, sources: list[str], libs: list[str], link: list[str]) -> Extension:
    return Extension(
        name,
        sources,
        include_dirs=[*INCLUDE, np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), SOURCES, *LIMITED_MACROS],
        extra_compile_args=[*CFLAGS, "-Wno-unused-parameter"],
        extra_link_args=link,
        libraries=libs,
        py_limited_api=LIMITED,
    )


def extensions() -> list[Extension]:
    # setuptools appends every library once more, which closes the circle between the drivers and
    # the variants.
    kernels = extension(
        "luthier.kernels._kernels",
        ["kernels/_kernels.pyx", "kernels/old_glibc.c"],
        [name for name, _ in LIBRARIES],
        [*LDFLAGS, "-Wl,--wrap=pthread_create"],
    )
    executor = extension(
        "luthier.graph._executor",
        ["graph/_executor.pyx", *map(str, sorted(Path("graph/csrc").glob("*.c")))],
        [],
        LDFLAGS,
    )
    made = cythonize(
        [e for e in (kernels, executor) if Path(e.sources[0]).exists()],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
    )
    headers = [str(path) for path in Path("graph").rglob("*.h")]
    archives = [str(BUILD / f"lib{name}.a") for name, _ in LIBRARIES]
    for ext in made:  # only now: cythonize would copy what it depends on
        ext.depends = [*headers, *KERNEL_FILES, *RULES, *(archives if ext.libraries else [])]
    return made


PACKAGES = [
    name
    for root, folder in PACKAGE_DIR.items()
    for name in (root, *(f"{root}.{sub}" for sub in find_packages(folder)))
]

setup(
    packages=PACKAGES,
    package_dir=PACKAGE_DIR,
    include_package_data=False,
    package_data={
        "luthier": ["py.typed", "targets/*.toml"],
        "luthier.bench": ["templates/*.html"],
        "luthier.kernels": ["bin/luthier-runner-*", "csrc/**/*.[ch]", "include/luthier/*.h"],
        "luthier.tuner": ["cost/*.json"],
        "luthier.graph": ["csrc/*.[ch]", "standalone/*.c"],
    },
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
    libraries=LIBRARIES,
    ext_modules=extensions(),
    cmdclass={
        "build_clib": BuildLibraries,
        "build_ext": BuildExtensions,
        "build_runner": BuildRunner,
    },
)
