"""The functions on run-length text and Dice that public Kaggle kernels share, copied from one to the next."""

from __future__ import annotations

import numpy as np


def mask_to_text(mask: np.ndarray) -> str:
    """uint8 (H, W) of 0 and 1."""
    pixels = mask.T.flatten()
    pixels = np.concatenate([[0], pixels, [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


def text_to_mask(text: str, shape: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W); nothing is checked."""
    numbers = text.split()
    starts, lengths = (np.asarray(part, dtype=int) for part in (numbers[0::2], numbers[1::2]))
    starts = starts - 1
    mask = np.zeros(shape[0] * shape[1], dtype=np.uint8)
    for start, end in zip(starts, starts + lengths, strict=True):
        mask[start:end] = 1
    return mask.reshape(shape[::-1]).T


def dice(target: np.ndarray, pred: np.ndarray) -> float:
    """Of one image and class, uint8 (H, W) each; 1 where both are empty."""
    target, pred = np.asarray(target).astype(bool), np.asarray(pred).astype(bool)
    total = target.sum() + pred.sum()
    return 1.0 if total == 0 else 2.0 * np.logical_and(target, pred).sum() / total
