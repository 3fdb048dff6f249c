"""Detection of damaged image files, before anything is learned from them."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from skyfold.data.images import COLOURS, JPEG_SUFFIXES, Header, Nodata, read_header, read_measured
from skyfold.data.whole_files import JPEG_SIGNATURE, read_whole
from skyfold.errors import DataLayoutError, Problems, shortened
from skyfold.progress import THREADS, map_in_threads, note

# JPEGs for each process: it starts in the time in which 12 of 1400 x 2100 pixels or 180 of 350 x 525 are decoded.
FOR_A_PROCESS = 32
# Decodes the files that are named on standard input. For each, what the decoder warns of is on standard error, nowhere
# else, and then a null; on standard output is a byte whose bit k is set where band k has one value throughout.
DECODER = """import cv2, os, sys
for line in sys.stdin.buffer:
    image = cv2.imread(os.fsdecode(line[:-1]), cv2.IMREAD_COLOR)
    one = lambda band: band.min() == band.max()
    flat = [] if image is None else [k for k in range(3) if one(image[::16, ::16, 2 - k]) and one(image[..., 2 - k])]
    os.write(1, bytes([sum(1 << k for k in flat)]))
    os.write(2, b"\\0")
"""


def check_images(
    paths: Sequence[Path],
    problems: Problems,
    label: str = "checking images",
    *,
    bands: int = COLOURS,
    nodata: Nodata = None,
    turn: bool = True,
) -> dict[Path, Header]:
    """Read every file; headers of the whole ones, in the order of `paths`. The others are added to `problems`.

    Finds more than reading does: a JPEG that is damaged inside, of which the decoder makes an image all the same.
    Files with a band of one value, or without a measurement, are named in a note, and images that an EXIF tag turns:
    masks are not turned. bands, nodata, turn: as `ImageFiles`.
    """
    decoded_beside = bands == COLOURS and nodata in (None, "alpha")
    with ExitStack() as stack:
        decoders: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        jpegs = sum(map(_named_jpeg, paths)) if decoded_beside else 0
        for _ in range(min(THREADS, -(-jpegs // FOR_A_PROCESS))):
            decoders.put(stack.enter_context(_Decoder()))

        def attempt(path: Path) -> DataLayoutError | tuple[Header, list[str]]:
            try:
                if decoded_beside and _named_jpeg(path) and read_whole(path).startswith(JPEG_SIGNATURE):
                    flat = _flat_bands_of_jpeg(path, decoders)
                else:
                    flat = _flat_bands(*read_measured(path, bands=bands, nodata=nodata, turn=turn))
                return read_header(path), flat
            except DataLayoutError as error:
                return error

        found = list(zip(paths, map_in_threads(label, attempt, paths, "images"), strict=True))
    whole, flat = {}, []
    for path, result in found:
        if isinstance(result, DataLayoutError):
            problems.add_error(result)
        else:
            whole[path] = result[0]
            if result[1]:
                flat.append(f"{path} (band {', '.join(result[1])})" if bands > 1 else str(path))
    if flat:
        note(f"{len(flat)} files have a band of one value throughout, or no data: {shortened(flat)}. Are they damaged?")
    turned = [f"{path} (orientation {header.orientation})" for path, header in whole.items() if header.turned]
    if turned and turn:
        note(
            f"an EXIF tag turns {len(turned)} images when they are read, but no masks: {shortened(turned)}. "
            "Where masks were drawn on the stored pixels, write the images without the tag."
        )
    return whole


def _named_jpeg(path: Path) -> bool:
    return path.suffix.lower() in JPEG_SUFFIXES


def _flat_bands(image: np.ndarray, defined: np.ndarray | None) -> list[str]:
    """Numbers, from 1, of bands with at most one value where they are defined."""
    pixels = image.reshape(-1, image.shape[2]) if defined is None else image[defined]
    return [str(k + 1) for k in range(image.shape[2]) if not len(pixels) or np.ptp(pixels[:, k].astype(float)) == 0]


class _Decoder:
    """A process that decodes one image after the other, so that what the decoder says of each can be read."""

    def __enter__(self) -> _Decoder:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", DECODER]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def read(self, path: Path) -> tuple[str, int]:
        """What the decoder says of a file, '' where it is whole; and the bits of bands of one value."""
        to, of, flat = self._process.stdin, self._process.stderr, self._process.stdout
        assert to is not None
        assert of is not None
        assert flat is not None
        to.write(os.fsencode(path.resolve()) + b"\n")
        said = b""
        while not said.endswith(b"\0"):
            if not (more := of.read(4096)):
                self.__exit__()
                self.__enter__()  # for the next file
                return "the decoder crashed", 0
            said += more
        return said[:-1].decode(errors="replace").strip(), flat.read(1)[0]


def _flat_bands_of_jpeg(path: Path, decoders: queue.SimpleQueue[_Decoder]) -> list[str]:
    """As `_flat_bands`; DataLayoutError where the file is damaged."""
    decoder = decoders.get()
    try:
        said, flat = decoder.read(path)
    finally:
        decoders.put(decoder)
    if said:
        raise DataLayoutError(
            f"{path}: the JPEG is damaged ({said.splitlines()[0]}). Download it again; where the whole image looks "
            "right, save it anew."
        )
    return [str(k + 1) for k in range(COLOURS) if flat >> k & 1]
