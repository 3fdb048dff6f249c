"""Optuna's plots of a study as files: values over trials, and the importance of each key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances

from skyfold.files import write_atomic
from skyfold.tuning.study import OpenStudy

MIN_TRIALS = 4  # complete ones, to rate importance


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


def _save(path: Path, axes: Axes) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    write_atomic(path, lambda beside: figure.savefig(beside, bbox_inches="tight"))
    plt.close(figure)
