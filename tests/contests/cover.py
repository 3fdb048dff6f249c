"""A made-up competition of `task: mean_cover`: which fraction of an image is white."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from skyfold.competition import Competition, Contest
from skyfold.submission.formats import read_table
from skyfold.types import Samples

COUNT = {"train": 24, "test": 6}


@dataclass(frozen=True)
class MeanAbsoluteError:
    name: str = "mae"
    greater_is_better: bool = False

    def stats(self, *, target, pred, valid=None):
        return np.abs(np.asarray(target, dtype=np.float64) - pred)

    def score(self, stats):
        return float(stats.mean())


class NumberTable:
    exact = False

    def encode(self, ids, values):
        return pd.DataFrame({"id": ids, "cover": [f"{float(value[0]):.6f}" for value in values]}, dtype=object)

    def decode(self, table, ids):
        found = dict(zip(table["id"], table["cover"].astype(float), strict=True))
        return [np.array([found[name]]) for name in ids.tolist()]

    def problems(self, table, sample):
        return [] if list(table.columns) == ["id", "cover"] else ["header: expected id,cover"]

    def check_sample(self, path, ids):
        return None

    def with_header_of(self, table, sample):
        return table

    def read(self, path):
        return read_table(path, ("id", "cover"))

    def write(self, path, table):
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)


def load(folder, part):
    rng = np.random.default_rng(len(part))
    cover = rng.uniform(0.1, 0.9, COUNT[part])
    images = np.zeros((COUNT[part], 16, 16, 3), np.uint8)
    for image, fraction in zip(images, cover, strict=True):
        image[: round(16 * fraction)] = 255
    ids = np.array([f"{part}{i:02d}" for i in range(COUNT[part])])
    return Samples(ids, images, cover[:, None] if part == "train" else None)


class Cover(Contest):
    def build(self, folder):
        return Competition(
            name="cover",
            task="mean_cover",
            classes=("cover",),
            grid=(16, 16),
            unit="fraction",
            metric=MeanAbsoluteError(),
            submission=NumberTable(),
            load=load,
            check=lambda folder: "made up",
            read_truth=None,
            read_pred=None,
            sample_table=lambda folder: None,
        )


PLUGIN = Cover
