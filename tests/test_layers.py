"""Every module imports only what lies below it, and only the libraries that are its own.

Read from the source with ``ast``: imports inside functions and under ``TYPE_CHECKING`` count too.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

# Top to bottom. A module imports from rows below its own, never from its own row or above.
# "medseg" is the package's own __init__: the small API for notebooks.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("medseg",),
    ("reports", "review"),
    ("training", "batch", "evaluation", "export", "model_import", "notebooks", "doctor"),
    ("inference", "planning"),
    ("model",),
    ("transforms", "networks", "losses", "metrics", "postprocess", "pictures", "phantoms"),
    ("manifests",),
    ("scans",),
    ("readers", "writers"),
    ("config", "volume"),
    ("archives", "geometry", "labels", "tables", "contours", "extras"),
    ("checksums", "database", "ct_windows", "errors", "memory", "names", "progress", "scratch"),
    ("files",),
)
RANK = {module: rank for rank, row in enumerate(LAYERS) for module in row}

# A library, and the modules that may know it.
SEAMS = {
    "nibabel": {"readers", "writers", "manifests", "notebooks"},
    "SimpleITK": {"readers", "writers", "transforms", "notebooks"},
    "pydicom": {"readers", "writers", "manifests"},
    "highdicom": {"readers", "writers", "manifests"},
    "monai": {"transforms", "losses", "networks", "export", "notebooks"},
    "matplotlib": {"pictures", "reports"},
    "skimage": {"contours", "postprocess", "readers"},
    "pandas": {"evaluation", "reports"},
    "torchio": {"notebooks"},
    "typer": {"cli"},
    "rich": {"cli"},
    "starlette": {"review"},
    "uvicorn": {"review"},
}

# A module, and what it must not know although it lies below or belongs to no one.
FILES = {"pathlib", "os", "io", "shutil", "tempfile", "zipfile"}
SCANS = {"medseg.readers", "medseg.scans", "medseg.writers", "medseg.manifests", "medseg.volume"}
STRANGERS = {
    "networks": FILES | SCANS | {"medseg.geometry"},
    "losses": FILES | SCANS | {"medseg.geometry"},
    "metrics": FILES | SCANS | {"torch", "lightning", "safetensors"},
}

# Lives outside the package and composes it.
OUTSIDE = {"pipelines", "tests", "benchmarks"}

PACKAGE = Path(__file__).resolve().parent.parent / "medseg"


@cache
def sources() -> dict[str, str]:
    """Every module of medseg: path from the repository's top to source."""
    return {
        path.relative_to(PACKAGE.parent).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def faults(modules: dict[str, str]) -> list[str]:
    """One line for each import that breaks a rule, and for each module that has no layer."""
    found = []
    for path, source in modules.items():
        importer = owner(path)
        if importer not in RANK:
            found.append(f"{path}: which layer is '{importer}' on? Add it to LAYERS")
            continue
        for line, target in imports(path, source):
            if fault := judge(importer, target):
                found.append(f"{path}:{line}: {fault}")
    return found


def judge(importer: str, target: str) -> str | None:
    """What is wrong with ``importer`` knowing the dotted ``target``, if anything."""
    strangers = STRANGERS.get(importer, set())
    if any(f"{target}.".startswith(f"{stranger}.") for stranger in strangers):
        return f"{importer} must not know {target}"
    library, *rest = target.split(".")
    if library in OUTSIDE:
        return f"{importer} imports {target}, which lives outside the package"
    if library != "medseg":
        allowed = SEAMS.get(library, {importer})
        return None if importer in allowed else f"only {sorted(allowed)} may know {library}"
    if rest == ["__version__"]:
        return None  # a plain string, of use to everybody
    imported = rest[0] if rest and rest[0] in RANK else "medseg"
    if rest and imported == "medseg" and (PACKAGE / rest[0]).with_suffix(".py").exists():
        return f"{importer} imports {target}, which has no layer"
    if imported == importer or RANK[imported] > RANK[importer]:
        return None
    direction = "sideways" if RANK[imported] == RANK[importer] else "upwards"
    return f"{importer} imports {imported}: {direction}"


def owner(path: str) -> str:
    """The layer's name for a file: ``medseg/readers/nifti.py`` belongs to ``readers``."""
    part = Path(path).parts[1]
    return "medseg" if part == "__init__.py" else part.removesuffix(".py")


def imports(path: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything that a module imports, by whatever spelling."""
    yield from imports_in(path, ast.parse(source, filename=path))


def imports_in(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    package = Path(path).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*home, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            named = [word.value for word in node.args[:1] if isinstance(word, ast.Constant)]
            yield from ((node.lineno, str(name)) for name in named)


def called(node: ast.Call) -> str:
    """The last part of the name of what is called."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def test_every_import_goes_downwards_and_keeps_to_its_seam():
    modules = sources()
    assert "medseg/postprocess.py" in modules, "the checker looked at the wrong folder"
    broken = faults(modules)
    assert not broken, "\n".join(broken)


BAD = {
    "upwards": ("medseg/readers/nifti.py", "from medseg.training import fit"),
    "upwards, whole module": ("medseg/geometry.py", "import medseg.volume"),
    "upwards, from the package": ("medseg/model.py", "from medseg import cli"),
    "upwards, to the notebook API": ("medseg/reports/batch.py", "import medseg"),
    "upwards, relative": (
        "medseg/readers/dicom/volume.py",
        "from ...inference.windows import plan_windows",
    ),
    "upwards, relative to the top": ("medseg/labels.py", "from . import config"),
    "upwards, in a function": ("medseg/config.py", "def f():\n    from medseg.model import Model"),
    "upwards, for types only": (
        "medseg/volume.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from medseg.readers import read",
    ),
    "upwards, by name": (
        "medseg/errors.py",
        "import importlib\nimportlib.import_module('medseg.labels')",
    ),
    "sideways": ("medseg/readers/nifti.py", "from medseg.writers.atomic import atomic_path"),
    "sideways between files": ("medseg/geometry.py", "from medseg.labels import LabelTable"),
    "a library behind its seam": ("medseg/inference/segment.py", "import nibabel.affines as x"),
    "monai in the road": ("medseg/inference/stitch.py", "from monai.inferers import x"),
    "pandas in the ledger": ("medseg/batch/ledger.py", "import pandas as pd"),
    "a picture in the wrong place": (
        "medseg/evaluation/scores.py",
        "import matplotlib.pyplot as plt",
    ),
    "a network that knows millimetres": (
        "medseg/networks/unet.py",
        "from medseg.geometry import Geometry",
    ),
    "a loss that reads files": ("medseg/losses/kinds.py", "from pathlib import Path"),
    "a metric that knows torch": ("medseg/metrics/overlap.py", "def f():\n    import torch.nn"),
    "recipes inside the package": ("medseg/cli/demo.py", "from pipelines import hippocampus"),
    "a module on no layer": ("medseg/utils.py", ""),
}


@pytest.mark.parametrize(("path", "source"), BAD.values(), ids=BAD)
def test_checker_finds(path, source):
    assert len(faults({path: source})) == 1


GOOD = {
    "downwards": ("medseg/cli/segment.py", "from medseg.inference import segment"),
    "own package": (
        "medseg/readers/__init__.py",
        "from medseg.readers import nifti\nfrom . import dicom",
    ),
    "own library": ("medseg/transforms/load.py", "from monai.data import ImageReader"),
    "the version": ("medseg/model.py", "from medseg import __version__"),
    "a free library": (
        "medseg/metrics/surface.py",
        "import numpy as np\nfrom scipy import ndimage",
    ),
    "a longer name": (
        "medseg/losses/kinds.py",
        "from osmosis import x\nfrom medseg.labels import LabelTable",
    ),
}


@pytest.mark.parametrize(("path", "source"), GOOD.values(), ids=GOOD)
def test_checker_allows(path, source):
    assert faults({path: source}) == []


def graph(modules: dict[str, str]) -> dict[str, set[str]]:
    """Module -> modules of medseg that it imports, in functions too; types alone do not count."""
    names = {dotted(path): path for path in modules}
    return {
        name: {
            found
            for _, target in imports_in(path, without_types(modules[path]))
            for found in [longest(target, names)]
            if found and found != name
        }
        for name, path in names.items()
    }


def dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def longest(target: str, names: dict[str, str]) -> str:
    """The module that a dotted name leads to; importing a name loads the module that holds it."""
    return target if target in names else target.rpartition(".")[0] if "." in target else ""


def without_types(source: str) -> ast.Module:
    """The module without what stands under ``if TYPE_CHECKING``."""
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    return tree


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another."""
    reached = {name: reach(name, edges) for name in edges}
    groups = {
        frozenset(other for other in reached[name] if name in reached.get(other, ()))
        for name in edges
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def reach(name: str, edges: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for other in edges.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def levels(edges: dict[str, set[str]], package: str) -> int:
    """Modules on the longest chain of imports within a package, its own ``__init__`` left out."""

    @cache
    def level(name: str) -> int:
        below = {other for other in edges[name] if other.startswith(f"{package}.")}
        return 1 + max(map(level, below), default=0)

    return max(level(name) for name in edges if name.startswith(f"{package}."))


def test_no_modules_import_one_another_in_a_circle_and_readers_are_at_most_eight_levels_deep():
    edges = graph(sources())
    assert cycles(edges) == []
    assert levels(edges, "medseg.readers") <= 8


def test_a_circle_is_found():
    modules = {
        "medseg/a.py": "from medseg.b import x",
        "medseg/b.py": "def f():\n    import medseg.c",
        "medseg/c.py": "from medseg.a import y",
    }
    assert cycles(graph(modules)) == [["medseg.a", "medseg.b", "medseg.c"]]
