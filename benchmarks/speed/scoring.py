"""Mean Dice of a submission of 22,184 rows, from the files to the figure, against the functions of public kernels.

The truth are labels of the volunteers, the submission is the same moved and eroded. Ours checks all that it checks for
users: columns, keys, every segment. The peer reads with pandas, decodes and counts with NumPy, checks nothing, and does
only the first rows, since its time grows with them. 'Cached truth': the truth was read before; the peer's as decoded
masks. Interval and draws of the bootstrap are left out of both.
"""

from __future__ import annotations

import csv
import gzip
import tempfile
from functools import cache
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from timing import Line, Work, data_folder, growth, ratios

from skyfold.competition import Competition, Truth, build
from skyfold.metrics.score_submission import prediction_stats
from skyfold.rle.codec import decode_many, encode_many
from speed.classic import dice, text_to_mask
from speed.maps import HEIGHT, WIDTH, truth_masks

SHAPE, CLASSES = (HEIGHT, WIDTH), ("Fish", "Flower", "Gravel", "Sugar")
ROWS = 22_184
LEAST_RATIO = 15.0
MADE_UP = 64  # images drawn where there is no real data; they are repeated


def lines(*, quick: bool) -> list[Line]:
    count, few, rounds = (64, 16, 1) if quick else (ROWS, 1_000, 5)
    rows, kind = truth_rows(count)
    with tempfile.TemporaryDirectory() as name:
        truth, pred = written(Path(name), rows)
        few_truth, few_pred = written(Path(name) / "few", rows[:few])
        competition = build("understanding_clouds", {"grid": SHAPE})
        known, decoded = competition.read_truth(truth), decoded_rows(few_truth)
        same = ours(competition, competition.read_truth(few_truth), few_pred), theirs(few_pred, decoded)
        assert abs(same[0] - same[1]) < 1e-12, same
        path, peer = f"score {count} rows ({kind}), files read", "kernels' functions, NumPy and pandas"
        found = ratios(
            f"{path}, truth cached",
            Work(lambda: ours(competition, known, pred), count),
            {peer: (Work(lambda: theirs(few_pred, decoded), few), LEAST_RATIO)},
            rounds=rounds,
        )
        found += ratios(
            path,
            Work(lambda: ours(competition, competition.read_truth(truth), pred), count),
            {peer: (Work(lambda: theirs(few_pred, decoded_rows(few_truth)), few), LEAST_RATIO)},
            rounds=rounds,
        )
        found += growth("score, truth cached", lambda size: of_size(competition, Path(name), rows, size), rounds=rounds)
    return found


def ours(competition: Competition, known: Truth, pred: Path) -> float:
    return competition.metric.score(prediction_stats(competition, known, competition.read_pred(pred, known.ids)))


def theirs(pred: Path, decoded: list[np.ndarray]) -> float:
    return float(np.mean([dice(target, mask) for target, mask in zip(decoded, masks_in(pred), strict=True)]))


def decoded_rows(path: Path) -> list[np.ndarray]:
    return list(masks_in(path))


def masks_in(path: Path):
    for text in pd.read_csv(path)["EncodedPixels"].fillna(""):
        yield text_to_mask(text, SHAPE)


def of_size(competition: Competition, folder: Path, rows: list[list[str]], size: int) -> Work:
    images = max(1, len(rows) // len(CLASSES) * size // 8)
    truth, pred = written(folder / f"of_size_{size}", rows[: images * len(CLASSES)])
    known = competition.read_truth(truth)
    return Work(lambda: ours(competition, known, pred))


@cache
def truth_rows(count: int) -> tuple[list[list[str]], str]:
    """Key and text of `count` masks, all classes of an image together, and what they are."""
    folder = data_folder()
    path = None if folder is None else folder / "clouds_labels" / "train_all_525x350.csv.gz"
    if path is None or not path.is_file():
        masks = np.moveaxis(truth_masks(MADE_UP, seed=0, classes=len(CLASSES)), -1, 1).reshape(-1, *SHAPE)
        texts = encode_many(masks)
        keys = [f"{i // len(CLASSES):06d}.jpg_{CLASSES[i % len(CLASSES)]}" for i in range(count)]
        return [[key, texts[i % len(texts)]] for i, key in enumerate(keys)], "made-up truth"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [[row["Image_Label"], row["EncodedPixels"]] for row in islice(csv.DictReader(file), count)], "real truth"


def written(folder: Path, rows: list[list[str]]) -> tuple[Path, Path]:
    """Files of the truth and of a submission that is off by a few pixels and a little too small."""
    folder.mkdir(exist_ok=True)
    for name, some in (("truth", rows), ("pred", predicted(rows))):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["Image_Label", "EncodedPixels"], *some])
    return folder / "truth.csv", folder / "pred.csv"


def predicted(rows: list[list[str]]) -> list[list[str]]:
    brush = np.ones((9, 9), dtype=np.uint8)
    found = []
    for start in range(0, len(rows), 64):
        some = rows[start : start + 64]
        masks = decode_many([text for _, text in some], SHAPE).view(np.uint8)
        moved = [cv2.erode(np.roll(mask, (7, -11), axis=(0, 1)), brush) for mask in masks]
        texts = encode_many(np.stack(moved).astype(bool))
        found += [[key, text] for (key, _), text in zip(some, texts, strict=True)]
    return found
