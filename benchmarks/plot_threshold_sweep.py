"""Draw what every threshold and minimum area would score on the out-of-fold predictions of a run or a blend.

python benchmarks/plot_threshold_sweep.py configs/wsiseg/unet_resnet18.yaml plot.png --areas 0 50 200 1000 4000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from skyfold.config.blend import PostprocessConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.files import load_config
from skyfold.data.dataset import open_masks
from skyfold.errors import ConfigError, SkyfoldError
from skyfold.files import write_atomic
from skyfold.postprocess.evaluate import Evaluation, evaluate
from skyfold.postprocess.measure import measure
from skyfold.postprocess.select import score_grid
from skyfold.postprocess.threshold_sweep import ThresholdSweep
from skyfold.store.runs import read_run
from skyfold.workspace import Workspace

COLOURS = ("#d1495b", "#00798c", "#edae49", "#30638e", "#6a994e", "#8d5a97", "#b8773a", "#5c5c5c")
COLOUR_LEVELS = 14


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("config", type=Path, help="config of a run or a blend that is there already")
    arguments.add_argument("picture", type=Path, help="PNG to write")
    arguments.add_argument("--areas", type=int, nargs="+", default=[0, 50, 200, 1000, 4000], help="minimum areas")
    arguments.add_argument("--class", dest="name", help="class to draw (default: the first)")
    given = arguments.parse_args(argv)
    try:
        draw(given.config, given.picture, given.areas, given.name)
    except SkyfoldError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def draw(path: Path, picture: Path, areas: Sequence[int], name: str | None) -> None:
    config, workspace = load_config(path), Workspace(Path.cwd())
    if isinstance(config, DatasetConfig):
        raise ConfigError(f"{path}: name the config of a run or a blend.")
    context = open_masks(config.data, workspace)
    run = read_run(workspace.run(config.data.folder, config.name), context.folds)
    classes = run.info.classes
    if name is not None and name not in classes:
        raise ConfigError(f"--class {name}: there are {', '.join(classes)}.")
    k = 0 if name is None else classes.index(name)
    post = PostprocessConfig(thresholds=255, min_areas=tuple(areas))
    sweep = measure(run.oof, context.train, context.folds, context.competition.metric, post)
    evaluation = evaluate(sweep, context.folds, post)
    draw_threshold_sweep(picture, evaluation, context.folds.fold[sweep.rows], k=k, name=classes[k])
    scores = evaluation.scores(draws=1000, seed=0)
    print(f"{picture}: {', '.join(f'{what} {value:.4f}' for what, value in scores.items())}")
    print(f"chosen on all: {evaluation.selection}")
    for fold, selection in evaluation.by_fold.items():
        print(f"chosen without fold {fold}: {selection}")


def draw_threshold_sweep(path: Path, evaluation: Evaluation, fold: np.ndarray, *, k: int, name: str) -> None:
    """Write a PNG for class k: left the score of all images at each pair, right along the threshold, fold by fold.

    fold: (n,) of the rows of the evaluation; name: of the class. The evaluation is without a gate, by a rule without
    top thresholds (else ValueError). The best pair of all images, and of all but each fold, are marked in both halves.
    """
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
    write_atomic(path, lambda beside: figure.savefig(beside, dpi=85))


def _scores(sweep: ThresholdSweep, rows: np.ndarray, k: int) -> np.ndarray:
    """float64 (M, T)."""
    if sweep.has_top:
        raise ValueError(f"rule '{sweep.rule}' has top thresholds, too: draw a rule without, component or total")
    return score_grid(sweep, k, rows)[0]


def _place(threshold: int, min_area: int, sweep: ThresholdSweep) -> tuple[float, float]:
    return (threshold + 0.5) / 255.0, float(np.searchsorted(sweep.min_areas, min_area))


if __name__ == "__main__":
    sys.exit(main())
