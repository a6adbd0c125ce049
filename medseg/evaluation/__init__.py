"""Evaluation: cohort and predictions to scores, and scores to statistics."""

from __future__ import annotations

from medseg.evaluation.about import problems
from medseg.evaluation.agreement import agreement
from medseg.evaluation.arrays import score
from medseg.evaluation.comparing import Comparison, compare
from medseg.evaluation.error_ranking import rank_errors
from medseg.evaluation.evaluating import FOLDS, evaluate, plan_tasks
from medseg.evaluation.scores import Scores, read_scores, write_scores, write_table
from medseg.evaluation.subgroups import subgroups
from medseg.evaluation.summary import summarise

__all__ = [
    "FOLDS",
    "Comparison",
    "Scores",
    "agreement",
    "compare",
    "evaluate",
    "plan_tasks",
    "problems",
    "rank_errors",
    "read_scores",
    "score",
    "subgroups",
    "summarise",
    "write_scores",
    "write_table",
]
