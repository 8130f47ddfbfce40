"""The house as CONTRIBUTING draws it: imports go down only, modules and functions stay small.

Imports inside functions and under TYPE_CHECKING count as well: a type that has to be
imported from above lives in the wrong module.
"""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest
from pydantic import BaseModel

from vision import registry

ROOT = Path(__file__).resolve().parent.parent

# From the ground up: a module imports from lower floors and from its own. A folder stands
# for all its modules. A new module is placed here first.
FLOORS = {
    "types": {
        "errors", "naming", "geometry", "nms", "classification", "detection", "event", "frame",
    },
    "contracts": {
        "clock", "config", "config_file", "drawing", "explain", "interfaces", "model_spec",
        "native_log", "origins", "paths", "picture", "preprocess", "quantized", "stats",
        "yaml_tree",
    },
    "plug-ins": {
        "sources", "backends", "detectors", "classifiers", "trackers", "outputs", "publishers",
        "models", "litert", "overlay", "rules",
    },
    "line": {
        "capture", "cascade", "classify", "failover", "lane", "pipeline", "publishing", "registry",
        "resources", "runtime",
    },
    "composition": {"agreement", "app", "building", "conversion", "doctor", "oneshot"},
    "commands": {"bench", "commands"},
    "front door": {"cli", "__main__"},
}  # fmt: skip
# On the plug-ins' floor every name keeps to itself, but for these.
NEIGHBOURS = {("backends", "litert")}
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS.values()) for name in names}
PLUG_INS = list(FLOORS).index("plug-ins")

THREADS = {"threading", "queue", "concurrent", "_thread"}
BROAD = {"Exception", "BaseException"}
# A thread's last line keeps whatever ended it, and the crew raises that where it is seen.
MAY_CATCH_ALL = {"vision.runtime.worker"}
TABLES = {
    name: table
    for name, table in vars(registry).items()
    if isinstance(table, dict) and name.isupper()
}
REGISTERED = {target.partition(":")[0] for table in TABLES.values() for target in table.values()}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path))
    for path in sorted((ROOT / "vision").rglob("*.py"))
}
each_module = pytest.mark.parametrize("module", MODULES)


def _imported(module: str) -> set[str]:
    """Return every module that `module` names in an import, wherever it stands."""
    names = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & MODULES.keys() or {node.module}
    return names


def _place(module: str) -> str:
    """Return the name under which FLOORS knows `module`: `vision.sources.video` is `sources`."""
    return module.split(".")[1]


def _may_import(importer: str, imported: str) -> bool:
    here, there = _place(importer), _place(imported)
    if FLOOR_OF[here] != FLOOR_OF[there] or FLOOR_OF[here] != PLUG_INS:
        return FLOOR_OF[here] >= FLOOR_OF[there]
    return (here == there or (here, there) in NEIGHBOURS) and imported not in REGISTERED


@each_module
def test_imports_go_down_only(module):
    if module == "vision":
        assert not _imported(module), "vision/__init__.py costs everyone what it imports"
        return
    assert _place(module) in FLOOR_OF, f"say in FLOORS where {module} lives"
    inside = {name for name in _imported(module) if name.startswith("vision.")}
    assert not {name for name in inside if not _may_import(module, name)}


@each_module
def test_only_the_runtime_knows_threads(module):
    threads = {name for name in _imported(module) if name.partition(".")[0] in THREADS}
    assert not threads or _place(module) == "runtime"


def test_the_runtime_knows_nothing_of_vision():
    inside = {
        name
        for module in MODULES
        if module.startswith("vision.runtime")
        for name in _imported(module)
        if name.partition(".")[0] == "vision"
    }
    assert {_place(name) for name in inside} <= {"runtime", "errors"}


@each_module
def test_functions_fit_on_a_screen(module):
    long = {
        node.name: node.end_lineno - node.lineno
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno > 40
    }
    assert not long


def test_modules_stay_small():
    lines = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "vision").rglob("*.py")
    }
    assert not {path: n for path, n in lines.items() if n > 300}
    assert statistics.median(lines.values()) <= 150


@each_module
def test_no_broad_except(module):
    """Nothing swallows what its author did not think of, by `except` or by `suppress`."""
    broad = []
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.walk(node.type) if node.type else [ast.Name("BaseException")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = ast.walk(node)
        else:
            continue
        if BROAD & {part.id for part in caught if isinstance(part, ast.Name)}:
            broad.append(node.lineno)
    assert len(broad) == (module in MAY_CATCH_ALL)


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table in TABLES for name in TABLES[table]]
)
def test_registered_plug_ins_exist_and_have_a_config(table, name):
    plug_in = registry.load(table.lower(), TABLES[table], name)
    config = plug_in.Config
    assert issubclass(config, BaseModel)
    assert config.__module__ == plug_in.__module__
    assert config.model_config.get("frozen") is True
    assert config.model_config.get("extra") == "forbid"
