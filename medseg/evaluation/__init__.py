"""How good are predictions, and how sure is that?  Cohort + predictions -> Scores -> statistics."""

from __future__ import annotations

from medseg.evaluation.evaluating import FOLDS, evaluate, plan_tasks, problems
from medseg.evaluation.scores import Scores, read_scores, write_scores, write_table
from medseg.evaluation.summary import summarise

__all__ = [
    "FOLDS", "Scores", "evaluate", "plan_tasks", "problems", "read_scores", "summarise",
    "write_scores", "write_table",
]
