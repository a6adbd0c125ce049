"""The page on how medseg is built names every room, and no room that is gone."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_room_has_its_place_in_the_table():
    page = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `medseg/")]
    named = {name.removeprefix("medseg/").rstrip("/") for cell in cells for name in words(cell)}
    outside = {"data_manifests"}
    assert named - outside == rooms()


def test_every_path_in_the_tables_exists():
    page = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    paths = [word for row in rows for word in words(row) if "/" in word and "." in word]
    assert "medseg/losses/kinds.py" in paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def rooms() -> set[str]:
    """Folders with modules, and single modules that are more than an entry point."""
    package = REPOSITORY / "medseg"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    return folders | {path.name for path in package.glob("[!_]*.py")}
