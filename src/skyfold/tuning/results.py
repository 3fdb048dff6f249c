"""What a study leaves for people: best.yaml, trials.csv, two pictures, and a summary in words."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from skyfold.files import write_text
from skyfold.tuning.pictures import draw_history, draw_importance
from skyfold.tuning.study import OpenStudy
from skyfold.tuning.trial_config import Recipe
from skyfold.tuning.work import best_trial, outcome


def write_best(recipe: Recipe, folder: Path, trial: FrozenTrial, *, score: str) -> None:
    """Write the trial's config as `folder/best.yaml`, without what was set for trials alone."""
    path = folder / "best.yaml"
    folds = ", ".join(str(fold) for fold in recipe.study.folds)
    comment = (
        f"# The best of study '{recipe.study.name}': trial {trial.number}, {score} {trial.values[0]:.4f} "
        f"on fold {folds}.\n"
        f"#     python scripts/train.py {path}\n"
    )
    text = comment + recipe.text(trial.params, name=f"{recipe.study.name}_best", folder=folder, for_trial=False)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def write_table(opened: OpenStudy) -> Path:
    """Write `trials.csv`: a row a trial, empty where a key was not searched or nothing is known yet."""
    keys = list(opened.config.search)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", "value", "epochs", "seconds", *keys, "reason"])
    for trial in opened.study.get_trials(deepcopy=False):
        took = trial.duration.total_seconds() if trial.duration is not None else None
        table.writerow(
            [
                trial.number,
                trial.state.name.lower(),
                f"{trial.values[0]:.6g}" if trial.values else "",
                trial.last_step or 0,
                "" if took is None else f"{took:.1f}",
                *[_cell(trial.params.get(key)) for key in keys],
                trial.user_attrs.get("reason", ""),
            ]
        )
    path = opened.folder / "trials.csv"
    write_text(path, text.getvalue())
    return path


def write_pictures(opened: OpenStudy, *, score: str) -> list[Path]:
    """Write `history.png` and `importance.png`; where there are too few trials for one, it says so."""
    paths = [opened.folder / "history.png", opened.folder / "importance.png"]
    draw_history(paths[0], opened, score=score)
    draw_importance(paths[1], opened, score=score)
    return paths


def summary(opened: OpenStudy, *, score: str, wanted: int, first_is_run: bool) -> str:
    """Counts, the best trial and how it compares to the run's own config."""
    trials = opened.study.get_trials(deepcopy=False)
    states = Counter(trial.state.name for trial in trials)
    shown = ", ".join(
        f"{states[state]} {said}"
        for state, said in [
            ("COMPLETE", "complete"),
            ("PRUNED", "pruned"),
            ("FAIL", "failed"),
            ("RUNNING", "running"),
            ("WAITING", "in the queue"),
        ]
        if states[state] or state in ("COMPLETE", "PRUNED", "FAIL")
    )
    lines = [f"study '{opened.config.name}': {shown}; {wanted} wanted"]
    reasons = Counter(str(trial.user_attrs.get("reason", "")) for trial in trials if trial.state.name == "FAIL")
    lines += [f"  failed {times}x: {reason}" for reason, times in reasons.most_common(3)]
    best = best_trial(opened)
    if best is None:
        return "\n".join([*lines, "no trial is complete yet, so there is no best one"])
    lines.append(f"best: trial {best.number}, {score} {best.values[0]:.4f}")
    lines += [f"  {key} = {_cell(best.params[key])}" for key in opened.config.search if key in best.params]
    first = next((trial for trial in trials if trial.number == 0), None)
    if first_is_run and first is not None:
        lines.append(f"the run's own values (trial 0): {outcome(first)}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
