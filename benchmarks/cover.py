"""Keep how much of each image its masks cover, as benchmarks/results/DATA/cover.csv, for tables by cover.

python benchmarks/cover.py configs/wsiseg/data.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from figures import RESULTS

from skyfold.config.files import load_config
from skyfold.data.dataset import open_masks
from skyfold.workspace import Workspace


def main(config: Path) -> int:
    data = load_config(config).data
    train = open_masks(data, Workspace(Path(__file__).parent.parent)).train
    assert train.targets is not None
    shares = []
    for row in range(len(train)):
        masks = np.asarray(train.targets[row]).astype(bool)
        counted = masks.reshape(-1, masks.shape[-1]) if train.valid is None else masks[train.valid[row].astype(bool)]
        shares.append(counted.mean())
    path = RESULTS / data.folder / "cover.csv"
    pd.DataFrame({"id": train.ids, "share": np.round(shares, 4)}).to_csv(path, index=False)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
