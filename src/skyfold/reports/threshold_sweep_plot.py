"""Plot of the score at every threshold and minimum area, and of how well the folds agree on the best."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skyfold.files import write_atomic
from skyfold.postprocess.evaluate import Evaluation
from skyfold.postprocess.select import score_grid
from skyfold.postprocess.threshold_sweep import ThresholdSweep

COLOURS = ("#d1495b", "#00798c", "#edae49", "#30638e", "#6a994e", "#8d5a97", "#b8773a", "#5c5c5c")
COLOUR_LEVELS = 14


def draw_threshold_sweep(path: Path, evaluation: Evaluation, fold: np.ndarray, *, k: int, name: str) -> None:
    """Write a PNG for class k: left the score of all images at each pair, right along the threshold, fold by fold.

    fold: (n,) of the rows of the evaluation; name: of the class. The evaluation is without a gate, by a rule without
    top thresholds (else ValueError). The best pair of all images, and of all but each fold, are marked in both halves.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sweep = evaluation.sweep
    whole = _scores(sweep, np.arange(len(sweep)), k)
    thresholds = (sweep.thresholds + 0.5) / 255.0
    figure = Figure(figsize=(11.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))

    heights = np.arange(len(sweep.min_areas))
    bounds = np.linspace(np.quantile(whole, 0.2), whole.max(), COLOUR_LEVELS)
    shading = left.contourf(thresholds, heights, whole, levels=bounds, cmap="viridis", extend="min")
    figure.colorbar(shading, ax=left, label=f"{sweep.metric.name.replace('_', ' ')}, {name}", format="%.3f")
    for f, chosen in sorted(evaluation.by_fold.items()):
        place = _place(chosen.thresholds[k], chosen.min_areas[k], sweep)
        label = f"best without fold {f}"
        left.plot(*place, "o", ms=9, mfc=COLOURS[f % len(COLOURS)], mec="white", label=label, clip_on=False, zorder=4)
    best = _place(evaluation.selection.thresholds[k], evaluation.selection.min_areas[k], sweep)
    left.plot(*best, "*", ms=17, mfc="white", mec="black", label="best of all", clip_on=False, zorder=5)
    left.set_yticks(heights, [f"{area:,}" for area in sweep.min_areas])
    left.set_xlabel("threshold")
    left.set_ylabel("minimum area, pixels")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)

    m = int(best[1])
    lowest, highest = float(np.quantile(whole[m], 0.4)), float(whole[m].max())  # what matters is near the best
    for f, chosen in sorted(evaluation.by_fold.items()):
        own = _scores(sweep, np.flatnonzero(fold == f), k)[m]
        highest = max(highest, float(own.max()))
        t = int(np.searchsorted(sweep.thresholds, chosen.thresholds[k]))
        colour = COLOURS[f % len(COLOURS)]
        right.plot(thresholds, own, color=colour, lw=1.6, label=f"fold {f}")
        right.plot(thresholds[own.argmax()], own.max(), "^", color=colour, ms=8)
        right.plot(thresholds[t], own[t], "o", mfc=colour, mec="white", ms=9)
    right.plot(thresholds, whole[m], color="black", lw=2.2, label="all")
    right.plot(best[0], whole[m].max(), "*", ms=17, mfc="white", mec="black")
    near = thresholds[whole[m] >= lowest]
    right.set_xlim(near.min(), near.max())
    right.set_ylim(lowest, highest + 0.1 * (highest - lowest))
    right.set_xlabel("threshold")
    right.set_title(
        f"at a minimum area of {sweep.min_areas[m]:,}: triangle, the fold's own best;\n"
        "dot, what the other folds choose for it",
        fontsize=10,
    )
    right.legend(frameon=False, loc="lower center", ncols=2)
    write_atomic(path, lambda beside: FigureCanvasAgg(figure).print_figure(beside, dpi=85))


def _scores(sweep: ThresholdSweep, rows: np.ndarray, k: int) -> np.ndarray:
    """float64 (M, T)."""
    if sweep.has_top:
        raise ValueError(f"rule '{sweep.rule}' has top thresholds, too: draw a rule without, component or total")
    return score_grid(sweep, k, rows)[0]


def _place(threshold: int, min_area: int, sweep: ThresholdSweep) -> tuple[float, float]:
    return (threshold + 0.5) / 255.0, float(np.searchsorted(sweep.min_areas, min_area))
