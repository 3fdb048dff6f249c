"""NAME: one line on what is predicted from what, and where the contest is.

`train/<id>.png` and `test/<id>.png` are the images. `train.csv` holds their masks as run-length text, with the columns
id and rle, which `sample_submission.csv`, a submission and a truth file have, too. Pixels count from 1, down columns.
"""

from functools import partial

import numpy as np

from skyfold.api import (
    Contest,
    ImageFiles,
    MaskTables,
    MeanDice,
    RleTable,
    as_image,
    check_images,
    file_id,
    files_of,
    image_paths,
    sample_names,
    sample_settings,
    smooth_noise,
    write_image,
    write_whole,
)

CLASSES = ("cloud",)  # several: leave bare_ids off, the ids of rows are then <id>_<class>
GRID = (64, 96)  # height and width of the masks that are handed in
SETTINGS = {"train": (48, 2), "test": (16, 1), "seed": (0, 0)}  # of a sample: default and least value


class Template(Contest):
    """Fields that you add here, with types and defaults, can be set in a config under data.options."""

    def build(self, folder):
        """The contest, scored by mean Dice; skyfold.api has other metrics, and OverlapMetric to write one's own."""
        table = RleTable(CLASSES, GRID, key_column="id", rle_column="rle", bare_ids=True)
        return Files(table, truth_column="rle").competition("NAME", MeanDice(), write_sample=write_sample)


PLUGIN = Template  # what skyfold looks for in this file


class Files(MaskTables):
    """How the images are found; the tables are read by the base."""

    def inputs(self, folder, part, ids, problems):
        """Images of `ids`, in their order. What is wrong is collected in `problems` and refused together."""
        files = {file_id(path): path for path in image_paths(folder / part, problems)}
        return ImageFiles(files_of(ids.tolist(), files, folder / part, problems))

    def check_images(self, folder, problems):
        """Read every image once, for `skyfold prepare`."""
        for part in ("train", "test"):
            check_images(image_paths(folder / part, problems), problems)


def write_sample(folder, **settings):
    """A small made-up data set in the contest's layout, for `--sample` and tests; data.sample sets its settings."""
    chosen = sample_settings(settings, SETTINGS)
    write_whole(folder, chosen, partial(write_files, **chosen))


def write_files(folder, train, test, seed):
    """Bright clouds on a dark sea."""
    names, masks = sample_names(seed, train, test, 10**6, "{:06d}"), []
    for index, name in enumerate(names):
        rng, part = np.random.default_rng([seed, index]), "train" if index < train else "test"
        cloud = smooth_noise(rng, (4, 6), GRID) > rng.uniform(0.2, 1.2)
        (folder / part).mkdir(exist_ok=True)
        image = 60 + 110 * cloud[..., np.newaxis] + 30 * rng.standard_normal((*GRID, 3))
        write_image(folder / part / f"{name}.png", as_image(image))
        masks.append(cloud[..., np.newaxis])
    table = RleTable(CLASSES, GRID, key_column="id", rle_column="rle", bare_ids=True)
    truth = table.encode(np.array(names), masks)
    table.write(folder / "train.csv", truth[:train])
    table.write(folder / "test_truth.csv", truth[train:])
    table.write(folder / "sample_submission.csv", truth[train:].assign(rle=""))
