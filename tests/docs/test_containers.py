"""The container recipes name files and versions that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [ROOT / "containers" / name for name in ("Containerfile", "medseg.def")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_what_a_recipe_copies_is_there_and_enough_to_build(recipe):
    text = recipe.read_text(encoding="utf-8")
    needed = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "medseg"}
    assert {name for name in needed if re.search(rf"(^|\s){re.escape(name)}\s", text)} == needed
    assert all((ROOT / name).exists() for name in needed)
    assert "-c /src/constraints.txt /src" in text


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_the_python_of_a_recipe_is_one_that_medseg_takes(recipe):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = re.search(r"python:(\d+\.\d+)-slim", recipe.read_text(encoding="utf-8"))
    assert version is not None
    assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]
