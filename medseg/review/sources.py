"""What a folder was made of: masks of which models, or an evaluation of which masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config import load_yaml
from medseg.errors import BadOutput
from medseg.evaluation.pairing import RUN_FILE, mask_files
from medseg.evaluation.scores import MEAN, SCORES_FILE, read_scores


def require_folder(masks: Path) -> Path:
    """The folder of masks, refused where it is something else.

    Raises:
        BadOutput: it is no folder.
    """
    if masks.is_dir():
        return masks
    raise BadOutput(
        "no such folder of masks",
        path=masks,
        expected="the --output of medseg segment or evaluate, or a folder of masks",
    )


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation was made of.

    Attributes:
        masks: the folder of predictions.
        truths: the card, or the folder of true masks.
        root: where the card's paths start, or ``None``.
    """

    masks: Path
    truths: Path
    root: Path | None


def evaluated(folder: Path) -> Evaluated | None:
    """What an evaluation was made of; ``None`` where the folder holds no evaluation.

    Raises:
        BadOutput: it does not say where its masks lie, or they are gone.
    """
    if not (folder / SCORES_FILE).is_file() or mask_files(folder):
        return None
    places = read_scores(folder).about.get("places") or {}
    if (
        not {"predictions", "truths"} <= set(places)
        or not (folder / places["predictions"]).is_dir()
    ):
        raise BadOutput(
            "the evaluation does not say where its masks lie, or they are gone",
            path=folder,
            remedy=f"Name them: medseg review MASKS --truth CARD --evaluation {folder}",
        )
    root = folder / places["root"] if "root" in places else None
    return Evaluated(folder / places["predictions"], folder / places["truths"], root)


def scores_of(evaluation: Path) -> dict[str, float]:
    """Case -> mean Dice over its labels, where it is defined.

    Raises:
        BadOutput: the folder holds no evaluation.
    """
    table = read_scores(evaluation).table
    rows = table[(table["metric"] == "dice") & (table["label"] == MEAN) & table["value"].notna()]
    return {str(case): float(dice) for case, dice in zip(rows["case"], rows["value"], strict=True)}


def run_facts(folder: Path) -> dict[str, object]:
    """What ``run.yaml`` says of the models that made the masks; empty where there is none."""
    path = folder / RUN_FILE
    return dict(load_yaml(path)) if path.is_file() else {}
