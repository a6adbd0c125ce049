"""Whatever option a message advises is one that the verb has."""

import ast
import re
from pathlib import Path

import click
import pytest
import typer

import medseg
from medseg.cli.app import app

PACKAGE = Path(medseg.__file__).parent

#: Options of other programs, which messages name, too.
FOREIGN = {
    "cli/app.py": {"--help", "--version"},
    "export/bundle.py": {"--config", "--bundle", "--dataset"},
    "training/processes.py": {"--ntasks", "--ntasks-per-node"},
}

#: Who can be told what a module says; a message that is not for all of them names its verb.
SCAN_VERBS = ("segment", "convert", "evaluate", "plan", "train", "preview", "cohort check")
CARD_VERBS = ("plan", "train", "evaluate", "segment", "preview", "cohort check", "cohort show")
HEARD_BY = {
    "readers/": SCAN_VERBS,
    "scans/discover.py": SCAN_VERBS,
    "scans/read.py": SCAN_VERBS,
    "scans/stack.py": SCAN_VERBS,
    "scans/channels.py": ("segment",),
    "manifests/reading.py": CARD_VERBS,
    "manifests/card.py": CARD_VERBS,
    "writers/guard.py": ("segment", "convert", "evaluate", "compare", "plan", "train", "export"),
    "writers/lock.py": ("segment", "convert", "train"),
    "writers/dicom_": ("segment",),
    "batch/process.py": ("segment", "convert"),
    "batch/ledger": ("segment",),
    "batch/cluster.py": ("segment",),
    "batch/gather.py": ("segment",),
    "batch/mask_places.py": ("segment",),
    "batch/shards.py": ("segment",),
    "batch/conversion.py": ("convert",),
    "manifests/check.py": ("cohort check", "cohort split", "plan", "train"),
    "review/running.py": ("review",),
    "review/harvest.py": ("cohort add",),
    "review/together.py": ("cohort add",),
    "review/": ("review", "cohort add", "cohort next"),
    "scans/table.py": SCAN_VERBS,
    "evaluation/comparing.py": ("compare",),
    "evaluation/translation.py": ("evaluate", "review"),
    "evaluation/scores.py": ("compare", "review"),
    "writers/metaimage.py": ("segment",),
    "evaluation/pairing.py": ("evaluate",),
    "evaluation/folders.py": ("evaluate", "review"),
    "evaluation/leakage.py": ("evaluate",),
    "evaluation/scoring.py": ("evaluate",),
    "training/": ("train",),
    "planning/": ("plan",),
    "inference/engine.py": ("segment",),
    "model_import/": ("import-model",),
}


def options():
    """Verb to its options; a verb of ``medseg cohort`` with that word before it."""
    table = {}

    def walk(command, name):
        for word, child in getattr(command, "commands", {}).items():
            walk(child, f"{name} {word}".strip())
        if not isinstance(command, click.Group):
            table[name] = {text for parameter in command.params for text in parameter.opts}

    walk(typer.main.get_command(app), "")
    return table


OPTIONS = options()


def messages():
    """Every text in the package that names an option, without docstrings; file, text, options."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documents = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and isinstance(node.body[0], ast.Expr)
        }
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = set(re.findall(r"--[a-z][a-z-]+[a-z]", node.value)) - FOREIGN.get(
                    name, set()
                )
                if node not in documents and found:
                    yield name, node.value, found


MESSAGES = sorted({(name, text, tuple(sorted(found))) for name, text, found in messages()})


@pytest.mark.parametrize(("name", "text", "named"), MESSAGES)
def test_every_option_that_a_message_names_is_one_of_the_verb(name, text, named):
    everywhere = set().union(*OPTIONS.values())
    assert set(named) <= everywhere
    spoken_of = [verb for verb in OPTIONS if re.search(rf"medseg {verb}\b", text)]
    allowed = set().union(*(OPTIONS[verb] for verb in spoken_of)) | {"--output"}
    hearers = next((verbs for part, verbs in HEARD_BY.items() if name.startswith(part)), ())
    for verb in hearers:
        assert set(named) <= allowed | OPTIONS[verb], f"{verb} has no such option"
    unsaid = name.startswith(("cli/", "config/kinds.py", "doctor.py")) or set(named) <= allowed
    assert hearers or unsaid, "say in HEARD_BY which verbs say this"


def test_messages_are_found():
    assert {"--volume", "--overwrite", "--break-lock"} <= {
        o for _, _, named in MESSAGES for o in named
    }
