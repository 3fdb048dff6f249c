"""Plant label errors in a copy of a data set of one class, and count those at the head of the list of the label audit.

    python benchmarks/planted_labels.py configs/wsiseg/red_blue_ratio.yaml --work DIR --seeds 0 1 2

5 % of the images get a wrong mask, a third each: exchanged with another image's, emptied, shifted by 10 pixels. The run
of the config is then trained on them, and audited.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from skyfold.competition import build
from skyfold.config.files import load_run
from skyfold.pipeline.label_audit import audit_labels
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.train import train
from skyfold.workspace import Workspace

KINDS = ("exchanged", "emptied", "shifted")
PIXELS = 10


def planted(masks: Sequence[np.ndarray], fraction: float, seed: int) -> tuple[list[np.ndarray], dict[int, str]]:
    """Masks, bool (H, W), some of them wrong, and the kind of error of each that is, by row.

    Masks that are exchanged or emptied are not alike before: an error that changes no pixel is none.
    """
    rng, wrong = np.random.default_rng(seed), list(masks)
    count = max(round(fraction * len(masks) / len(KINDS)), 1)
    kinds: dict[int, str] = {}
    order = [int(row) for row in rng.permutation(len(masks)) if masks[row].any()]
    while sum(kind == "exchanged" for kind in kinds.values()) < count:
        one, other = order.pop(), order.pop()
        wrong[one], wrong[other] = masks[other], masks[one]
        kinds |= {one: "exchanged", other: "exchanged"}
    for kind in KINDS[1:]:
        for _ in range(count):
            row = order.pop()
            wrong[row] = np.zeros_like(masks[row]) if kind == "emptied" else _shifted(masks[row], rng)
            kinds[row] = kind
    return wrong, kinds


def _shifted(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    down, right = ((PIXELS, 0), (-PIXELS, 0), (0, PIXELS), (0, -PIXELS))[rng.integers(4)]
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = mask.shape[1], mask.shape[0]
    return cv2.warpAffine(mask.astype(np.uint8), move, size, borderMode=cv2.BORDER_REPLICATE).astype(bool)


def measure(config: Path, work: Path, seed: int) -> str:
    """One draw: a line with the counts of each kind among the first tenth of the list."""
    run = load_run(config)
    source, folder = Workspace(Path.cwd()).existing_data(run.data.folder), work / f"data{seed}"
    samples = build(run.data.competition, run.data.options, source).load(source, "train")
    assert samples.targets is not None
    masks = [samples.targets[row][..., 0].astype(bool) for row in range(len(samples))]
    wrong, kinds = planted(masks, 0.05, seed)
    shutil.copytree(source, folder)
    paths = {path.stem: path for path in (folder / "masks").iterdir()}
    options = run.data.options
    (value,) = options["classes"].values()
    for row in kinds:
        codes = np.where(wrong[row], value, options.get("background", 0)).astype(np.uint8)
        if samples.valid is not None:
            codes[~samples.valid[row]] = options["ignore_value"]
        cv2.imwrite(str(paths[str(samples.ids[row])]), codes)
    workspace = Workspace(work / f"seed{seed}", data_from=folder)
    workspace.root.mkdir(parents=True)
    prepare(run.data, workspace)
    train(run, workspace)
    listed = audit_labels(run.data, [run.name], workspace).suspects
    head = {one.row for one in listed[: len(listed) // 10]}
    found = head & set(kinds)
    numbers = [(kind, sum(kinds[row] == kind for row in found), list(kinds.values()).count(kind)) for kind in KINDS]
    of_kinds = ", ".join(f"{kind} {some} of {every}" for kind, some, every in numbers)
    return f"seed {seed}: {len(found)} of {len(kinds)} in the first {len(head)} of {len(listed)}: {of_kinds}"


def main() -> None:
    """Parse the arguments, measure each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    for line in [measure(given.config, given.work, seed) for seed in given.seeds]:
        print(line)


if __name__ == "__main__":
    main()
