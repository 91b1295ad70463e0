"""Imports point down, and `import luthier` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FOLDERS = {
    "luthier.kernels": "kernels",
    "luthier.graph": "graph",
    "luthier.tuner": "tuner",
    "luthier.onnx_frontend": "onnx_frontend",
    "luthier.bench": "bench",
    "luthier": "src/luthier",
}
ROOT_MODULES = ("digest", "errors", "knobs", "lazy", "limits", "target")
"""Modules of src/luthier at the bottom: they import nothing but each other."""

LAYERS = {
    "root": 0,
    "luthier.kernels": 1,
    "luthier.graph": 2,
    "luthier.tuner": 3,
    "luthier.onnx_frontend": 3,
    "luthier.bench": 3,
    "top": 4,
}
SEES_GRAPH = {"luthier.tuner.extract", "luthier.tuner.whole_model"}
WRITES_ONNX = {"luthier.bench.gemms", "luthier.bench.net", "luthier.bench.zoo"}
HEAVY = ("numpy", "onnx", "skopt", "rich", "matplotlib", "msgspec", "jinja2", "platformdirs")


def layer(module: str) -> str:
    """The part that `module` belongs to."""
    for part in list(FOLDERS)[:-1]:
        if module == part or module.startswith(part + "."):
            return part
    return "root" if module.removeprefix("luthier.").split(".")[0] in ROOT_MODULES else "top"


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the library; benchmark files are run by pytest, from above."""
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name.startswith("bench_"):
                continue
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *(p for p in parts if p != "__init__")]), path


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names that a module imports, lazily or not, but for type checkers' eyes only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield (name if node.module == "luthier" else str(node.module)), node.lineno


MODULES = list(sources())


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[m for m, _ in MODULES])
def test_imports_point_down(module: str, path: Path) -> None:
    own = layer(module)
    for name, line in imports(path):
        if name.split(".")[0] != "luthier" or name == "luthier":
            continue
        other = layer(name)
        where = f"{path.relative_to(ROOT)}:{line}: {module} imports {name}"
        assert other == own or LAYERS[other] < LAYERS[own], where
        if own == "luthier.tuner" and other == "luthier.graph":
            assert module in SEES_GRAPH, where


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[m for m, _ in MODULES])
def test_only_the_frontend_reads_onnx(module: str, path: Path) -> None:
    if layer(module) != "luthier.onnx_frontend" and module not in WRITES_ONNX:
        assert not [line for name, line in imports(path) if name.split(".")[0] == "onnx"]


@pytest.mark.parametrize("path", sorted((ROOT / "src/luthier").glob("*.py")), ids=lambda p: p.stem)
def test_root_modules_need_the_standard_library_only(path: Path) -> None:
    if path.stem in ROOT_MODULES:
        allowed = {*sys.stdlib_module_names, "luthier", "tomli"}
        assert {name.split(".")[0] for name, _ in imports(path)} <= allowed


@pytest.mark.parametrize("module", ["luthier", "luthier.cli"])
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_is_there() -> None:
    import luthier

    missing = [name for name in luthier.__all__ if not hasattr(luthier, name)]
    assert missing == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = luthier.nonsense
