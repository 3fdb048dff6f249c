"""Masks to Kaggle's run-length text and back, against the functions of public kernels, pycocotools and rlemasklib.

Masks are uint8 or bool (350, 525) in row order, as models and thresholds give them, one for each row of the labels,
most rows empty as there. Ours checks every number that it reads, the others check nothing. The libraries know no
Kaggle text: their counts are turned into text and back by the fastest NumPy found, and pycocotools, which gives
nothing but compressed counts, is helped by our vectorized reader of those. Masks are used and dropped, by ours in the
same memory again.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
from timing import Line, Work, growth, ratios

from skyfold.rle.coco import counts_of
from skyfold.rle.codec import decode, decode_many, encode, encode_many
from speed.classic import mask_to_text, text_to_mask
from speed.maps import HEIGHT, WIDTH, cloud_masks

SHAPE = (HEIGHT, WIDTH)
AT_ONCE = 16  # masks in a batch: 3 MB, which stay in the cache
LEAST_RATIO = {"kernels": 5.0}


def lines(*, quick: bool) -> list[Line]:
    images, rounds = (4, 1) if quick else (32, 15)
    planes, kind = cloud_masks(images, seed=0)
    masks = np.ascontiguousarray(np.moveaxis(planes, -1, 1)).reshape(-1, *SHAPE)
    texts = encode_many(masks)
    peers = {"kernels": (mask_to_text, lambda text: text_to_mask(text, SHAPE))} | library_functions()
    plain = masks.view(np.uint8)
    for name, (to_text, to_mask) in peers.items():
        for mask, text in zip(plain, texts, strict=True):
            assert to_text(mask) == text, name
            assert np.array_equal(to_mask(text), mask), name

    def encoders(wanted: dict[str, float]) -> dict[str, tuple[Work, float | None]]:
        return {spoken_name(name): (each(to_text, plain), wanted.get(name)) for name, (to_text, _) in peers.items()}

    def decoders(wanted: dict[str, float]) -> dict[str, tuple[Work, float | None]]:
        return {spoken_name(name): (each(to_mask, texts), wanted.get(name)) for name, (_, to_mask) in peers.items()}

    batches = f"{len(masks)} masks ({kind}) in batches of {AT_ONCE}"
    found = ratios(f"RLE encode, {batches}", in_batches(masks), encoders(LEAST_RATIO), rounds=rounds)
    found += ratios("RLE encode, one mask a call", each(encode, masks), encoders({}), rounds=rounds)
    found += ratios(
        f"RLE decode with validation, {batches}", out_of_batches(texts), decoders(LEAST_RATIO), rounds=rounds
    )
    one = each(lambda text: decode(text, SHAPE), texts)
    found += ratios("RLE decode with validation, one text a call", one, decoders({}), rounds=rounds)
    missing = [name for name in ("pycocotools", "rlemasklib") if name not in peers]
    found += [Line("RLE encode and decode", f"{name}: not installed", 0.0, 0.0, 0.0, "x") for name in missing]
    several = np.concatenate([masks] * 8)
    return found + growth("RLE encode", lambda size: Work(in_batches(several[: size * len(masks)]).call), rounds=rounds)


def in_batches(masks: np.ndarray) -> Work:
    def call() -> None:
        for start in range(0, len(masks), AT_ONCE):
            encode_many(masks[start : start + AT_ONCE])

    return Work(call, len(masks))


def out_of_batches(texts: list[str]) -> Work:
    memory = np.empty((AT_ONCE, *SHAPE), dtype=bool)

    def call() -> None:
        for start in range(0, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            decode_many(some, SHAPE, out=memory[: len(some)])

    return Work(call, len(texts))


def each(function, values) -> Work:
    def call() -> None:
        for value in values:
            function(value)

    return Work(call, len(values))


def spoken_name(name: str) -> str:
    return "kernels' functions" if name == "kernels" else name


def library_functions() -> dict:
    """name -> (mask to text, text to mask) of the libraries that are installed."""
    found = {}
    if coco := _installed("pycocotools.mask"):
        found["pycocotools"] = (
            lambda mask: text_of_counts(counts_of(coco.encode(np.asfortranarray(mask))["counts"])),
            lambda text: coco.decode(
                coco.frPyObjects({"size": list(SHAPE), "counts": counts_of_text(text).tolist()}, *SHAPE)
            ),
        )
    if masklib := _installed("rlemasklib"):
        found["rlemasklib"] = (
            lambda mask: text_of_counts(masklib.RLEMask.from_array(mask).counts_view),
            lambda text: masklib.RLEMask.from_counts(counts_of_text(text), SHAPE).to_array(),
        )
    return found


def text_of_counts(counts: np.ndarray) -> str:
    """Counts alternate between background and mask."""
    ends = np.cumsum(counts, dtype=np.int64)
    numbers = np.empty(len(counts) // 2 * 2, dtype=np.int64)
    numbers[0::2] = ends[0::2][: len(counts) // 2] + 1
    numbers[1::2] = counts[1::2]
    return " ".join(map(str, numbers.tolist()))


def counts_of_text(text: str) -> np.ndarray:
    numbers = np.fromstring(text, dtype=np.int64, sep=" ") if text else np.empty(0, dtype=np.int64)
    borders = np.empty(len(numbers) + 2, dtype=np.int64)
    borders[0], borders[-1] = 0, SHAPE[0] * SHAPE[1]
    borders[1:-1:2] = numbers[0::2] - 1
    borders[2:-1:2] = numbers[0::2] - 1 + numbers[1::2]
    return np.diff(borders).astype(np.uint32)


def _installed(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
