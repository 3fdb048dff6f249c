"""Train the run of a config: all folds and seeds, out-of-fold and test rows. The same command goes on where it was."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run, set_argument


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config of a training run")
    arguments.add_argument(
        "--fold", type=int, action="append", metavar="K", help="train this fold only; may be repeated"
    )
    arguments.add_argument("--restart", action="store_true", help="begin afresh instead of going on")
    data_argument(arguments)
    set_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.config.files import load_run
        from skyfold.pipeline.blend import open_context, score_run
        from skyfold.pipeline.forecasts import table_of_run
        from skyfold.training.run_folds import train
        from skyfold.workspace import Workspace

        config, workspace = load_run(given.config, given.overrides), Workspace(data_from=given.data)
        result = train(config, workspace, only_folds=given.fold, restart=given.restart)
        seen = f" at {config.image.size[0]}x{config.image.size[1]}" if config.image else ", mean absolute error"
        for fold, score in result.scores.items():
            print(f"fold {fold}: validation score {score:.4f}{seen}")
        if result.complete and config.task == "forecasting":
            print(table_of_run(config, given.config, workspace))
        if result.complete and config.task == "segmentation":
            scores = score_run(result.folder, open_context(config.data, workspace))
            print(
                f"out-of-fold on the competition's grid: {scores['cv_at_0.5']:.4f} at 0.5, thresholds cross-fitted "
                f"{scores['cv_cross_fitted']:.4f} ({scores['low']:.4f} to {scores['high']:.4f})"
            )
        print(f"{'trained' if result.complete else 'so far'}: {result.folder}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
