"""Keep the scores per image, at 0.5, of runs of which only some folds are trained, as benchmarks/results/DATA/NAME.csv.

    python benchmarks/one_change.py configs/wsiseg/one_change.yaml

A column for each run of the table that is trained at all, a row for each image that all of them predict out of fold.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from figures import RESULTS

from skyfold.config.experiment import TableConfig
from skyfold.config.files import load_config
from skyfold.data.dataset import open_masks
from skyfold.metrics.sample_stats import sample_stats
from skyfold.postprocess.selection import HALF
from skyfold.postprocess.threshold_sweep import row_scores
from skyfold.store.rows import RowStore
from skyfold.workspace import Workspace


def main(config: Path, root: Path) -> int:
    table, workspace = load_config(config), Workspace(root)
    assert isinstance(table, TableConfig)
    dataset = open_masks(table.data, workspace)
    folders = {run.name: workspace.run(table.data.folder, run.name) / "oof" for run in table.runs}
    stores = {name: RowStore.open(folder) for name, folder in folders.items() if folder.is_dir()}
    rows = np.flatnonzero(np.all([store.complete for store in stores.values()], axis=0))
    scores: dict[str, np.ndarray] = {"id": dataset.train.ids[rows], "fold": dataset.folds.fold[rows]}
    scores["group"] = dataset.folds.groups[rows]
    metric = dataset.competition.metric
    for name, store in stores.items():
        found = sample_stats({"": metric}, dataset.train, rows, lambda chunk, store=store: store.checked[chunk] > HALF)
        scores[name] = row_scores(metric, found[""])
        print(f"{name}: {metric.score(found['']):.4f} at 0.5 on {len(rows)} images")
    path = RESULTS / table.data.folder / f"{table.name}.csv"
    pd.DataFrame(scores).to_csv(path, index=False, float_format="%.6f")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent.parent)))
