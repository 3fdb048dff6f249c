"""Draw what every threshold and minimum area would score on the out-of-fold predictions of a run or a blend.

python benchmarks/plot_threshold_sweep.py configs/wsiseg/unet_resnet18.yaml plot.png --areas 0 50 200 1000 4000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from skyfold.config.blend import PostprocessConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.files import load_config
from skyfold.data.dataset import open_masks
from skyfold.errors import ConfigError, SkyfoldError
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.threshold_sweep import measure
from skyfold.reports.threshold_sweep_plot import draw_threshold_sweep
from skyfold.store.runs import read_run
from skyfold.workspace import Workspace


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


if __name__ == "__main__":
    sys.exit(main())
