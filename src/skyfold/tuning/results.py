"""Files and messages that a study leaves: best.yaml, trials.csv, Optuna's plots and a summary."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances

from skyfold.files import write_atomic, write_csv, write_text
from skyfold.tuning.study import OpenStudy
from skyfold.tuning.trial_config import TrialConfigs
from skyfold.tuning.worker import outcome

MIN_TRIALS = 4  # complete ones, to rate importance
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "in the queue"}


def write_best(configs: TrialConfigs, folder: Path, trial: FrozenTrial, *, score: str) -> None:
    """Write the trial's config as `folder/best.yaml`, without the keys set for trials only."""
    path = folder / "best.yaml"
    folds = ", ".join(str(fold) for fold in configs.study.folds)
    comment = (
        f"# Best of study '{configs.study.name}': trial {trial.number}, {score} {trial.values[0]:.4f}, fold {folds}.\n"
        f"#     skyfold train {path}\n"
    )
    text = comment + configs.text(trial.params, name=f"{configs.study.name}_best", folder=folder, for_trial=False)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def write_table(opened: OpenStudy) -> Path:
    """Write `trials.csv`: a row per trial; a cell is empty where a key was not searched or nothing is known yet."""
    keys, path = list(opened.config.search), opened.folder / "trials.csv"
    rows = [["trial", "state", "value", "epochs", "seconds", *keys, "reason"]]
    for trial in opened.trials():
        value = f"{trial.values[0]:.6g}" if trial.values else ""
        seconds = f"{trial.duration.total_seconds():.1f}" if trial.duration else ""
        params = [_cell(trial.params[key]) if key in trial.params else "" for key in keys]
        state = [str(trial.number), trial.state.name.lower(), value, str(trial.last_step or 0), seconds]
        rows.append([*state, *params, trial.user_attrs.get("reason", "")])
    write_csv(path, rows)
    return path


def write_plots(opened: OpenStudy, *, score: str) -> None:
    """Write `history.png` once a trial is complete, `importance.png` once `MIN_TRIALS` are, with different values.

    Importance is functional ANOVA of the keys that all complete trials have. Optuna's default, PED-ANOVA, rates
    conditional keys too, but on some tens of trials it gave most of the importance to a key without any effect.
    """
    values = [trial.values[0] for trial in opened.trials(TrialState.COMPLETE)]
    if not values:
        return
    with plt.rc_context():  # Optuna changes the style
        axes = plot_optimization_history(opened.study, target_name=score)
        pruned = [(trial.number, trial.values[0]) for trial in opened.trials(TrialState.PRUNED) if trial.values]
        axes.plot(*np.array(pruned).reshape(-1, 2).T, "x", color="tab:gray", label="Pruned, last epoch")
        axes.legend()
        _save(opened.folder / "history.png", axes)
        if len(values) >= MIN_TRIALS and len(set(values)) > 1:
            evaluator = FanovaImportanceEvaluator(seed=0)
            axes = plot_param_importances(opened.study, evaluator, target_name=score)
            _save(opened.folder / "importance.png", axes)


def summary(opened: OpenStudy, *, score: str, n_trials: int, first_is_run: bool) -> str:
    """Counts, the best trial, and how it compares to the run's own config."""
    trials = opened.trials()
    states = Counter(trial.state.name for trial in trials)
    counts = [f"{states[state]} {word}" for state, word in STATES.items() if states[state]]
    lines = [f"study '{opened.config.name}': {', '.join(counts) or 'no trials yet'}; {n_trials} requested"]
    reasons = Counter(str(trial.user_attrs.get("reason", "")) for trial in trials if trial.state.name == "FAIL")
    lines += [f"  failed {times}x: {reason}" for reason, times in reasons.most_common(3)]
    best = opened.best_trial()
    if best is None:
        return "\n".join([*lines, "no trial is complete yet"])
    lines.append(f"best: trial {best.number}, {score} {best.values[0]:.4f}")
    lines += [f"  {key} = {_cell(best.params[key])}" for key in opened.config.search if key in best.params]
    if first_is_run and trials[0].state.is_finished():
        lines.append(f"the run's own values (trial 0): {outcome(trials[0])}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _save(path: Path, axes: Axes) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    write_atomic(path, lambda beside: figure.savefig(beside, bbox_inches="tight"))
    plt.close(figure)
