"""Pictures of a study: values over trials, and how much each key matters."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.trial import TrialState

from skyfold.files import write_atomic
from skyfold.tuning.study import OpenStudy

FEWEST = 4  # complete trials from which importance is worth a look; from `HINT` on it is more than a hint
HINT = 20


def draw_history(path: Path, opened: OpenStudy, *, score: str) -> None:
    """Values of complete trials, last values of pruned ones, and the best so far."""
    trials = opened.study.get_trials(deepcopy=False)
    complete = [(trial.number, trial.values[0]) for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [
        (trial.number, trial.values[0])
        for trial in trials
        if trial.state == TrialState.PRUNED and trial.values is not None
    ]
    failed = [trial.number for trial in trials if trial.state == TrialState.FAIL]
    figure, axes = _figure(
        f"{opened.config.name}: {len(complete)} complete, {len(pruned)} pruned, {len(failed)} failed"
    )
    if not complete:
        _say(axes, "No trial is complete yet.")
    else:
        numbers, values = (np.array(part) for part in zip(*complete, strict=True))
        best = np.maximum.accumulate(values) if opened.maximise else np.minimum.accumulate(values)
        upto, reached = np.append(numbers, trials[-1].number), np.append(best, best[-1])
        axes.step(upto, reached, where="post", color="tab:green", label="best so far")
        axes.plot(numbers, values, "o", color="tab:blue", markersize=5, label="complete")
        if pruned:
            axes.plot(
                *zip(*pruned, strict=True), "x", color="tab:gray", markersize=5, label="pruned, at its last epoch"
            )
        for number in failed:
            axes.axvline(
                number, color="tab:red", linewidth=0.8, linestyle=":", label="failed" if number == failed[0] else None
            )
        axes.set(xlabel="trial", ylabel=score)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="best", fontsize=8)
    write_atomic(path, FigureCanvasAgg(figure).print_png)


def draw_importance(path: Path, opened: OpenStudy, *, score: str) -> None:
    """The share of the values' variance over the space that each key accounts for (functional ANOVA)."""
    shares, said = importance(opened)
    complete = len(opened.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    hint = ", a hint at most" if complete < HINT else ""
    figure, axes = _figure(f"{opened.config.name}: importance for {score}, {complete} complete trials{hint}")
    if said:
        _say(axes, said)
    else:
        names = list(shares)[::-1]
        axes.barh(names, [shares[name] for name in names], color="tab:blue")
        for name in names:
            axes.text(shares[name] + 0.01, name, f"{shares[name]:.2f}", va="center", fontsize=8)
        left_out = [key for key in opened.config.search if key not in shares]
        note = f"not rated, since some trials do not have it: {', '.join(left_out)}" if left_out else ""
        lines = ["importance (all keys together: 1)", *textwrap.wrap(note, 90)]
        axes.set(xlabel="\n".join(lines), xlim=(0, max(shares.values()) * 1.12 + 0.02))
    write_atomic(path, FigureCanvasAgg(figure).print_png)


def importance(opened: OpenStudy) -> tuple[dict[str, float], str]:
    """Share of each key that all complete trials have, greatest first; or none, and why.

    Functional ANOVA of a random forest. Optuna's own choice, PED-ANOVA, rates conditional keys too, but on some tens of
    trials it gave most of the importance to a key without any effect.
    """
    complete = opened.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST:
        return {}, f"Importance needs at least {FEWEST} complete trials; there are {len(complete)}."
    if len({trial.values[0] for trial in complete}) == 1:
        return {}, "All complete trials have the same value: no key matters."
    shares = optuna.importance.get_param_importances(
        opened.study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    return {name: float(share) for name, share in shares.items()}, ""


def _figure(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    return figure, axes


def _say(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()
