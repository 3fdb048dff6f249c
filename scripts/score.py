"""Score a submission file against a truth file with the contest's own metric."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from skyfold.cli import competition_or_config, data_argument, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("competition", metavar="COMPETITION", help="name of a competition, or a config file")
    arguments.add_argument("submission", type=Path, metavar="SUBMISSION", help="a CSV, or a folder of mask images")
    arguments.add_argument("--truth", type=Path, required=True, metavar="FILE", help="truth, in the same format")
    data_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.competition import build
        from skyfold.errors import DataLayoutError
        from skyfold.pipeline.score import score_note, score_submission
        from skyfold.workspace import Workspace

        data = competition_or_config(given.competition)
        folder = Workspace(data_from=given.data).data(data.folder)
        if given.data is not None and not folder.is_dir():
            raise DataLayoutError(f"{folder}: no such folder, named by --data.")
        competition = build(data.competition, data.options, folder if folder.is_dir() else None)
        scored = score_submission(competition, given.submission, given.truth)
        one = "image" if competition.task == "segmentation" else "sample"
        many = one if scored.images == 1 else f"{one}s"
        print(f"{competition.metric.name}: {scored.score:.6f} ({scored.images} {many})")
        if said := score_note(scored.score):
            print(said)
        if scored.images > 1:
            print(f"95 % interval over {many}: {scored.interval.low:.6f} to {scored.interval.high:.6f}")
        for name, value in scored.per_class.items():
            print(f"  {name}: {value:.6f}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
