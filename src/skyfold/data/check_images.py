"""Detection of damaged image files, before anything is learned from them."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from skyfold.data.images import JPEG_SIGNATURE, Header, read_header, read_image, read_whole
from skyfold.errors import DataLayoutError, Problems, shortened
from skyfold.progress import THREADS, map_in_threads, note

# Decodes the files that are named on standard input; the decoder prints its warnings on standard error, nowhere else.
DECODER = """import cv2, os, sys
for line in sys.stdin.buffer:
    cv2.imread(os.fsdecode(line[:-1]), cv2.IMREAD_COLOR)
    os.write(2, b"\\0")
"""


def check_images(paths: Sequence[Path], problems: Problems, label: str = "checking images") -> list[Path]:
    """Read every file; the whole ones, in the order of `paths`. The others are added to `problems`.

    Finds more than reading does: a JPEG that is damaged inside, of which the decoder makes an image all the same.
    Images that an EXIF tag turns are named in a note: masks are not turned.
    """
    with ExitStack() as stack:
        decoders: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        if any(path.suffix.lower() != ".png" for path in paths):
            for _ in range(THREADS):
                decoders.put(stack.enter_context(_Decoder()))

        def attempt(path: Path) -> DataLayoutError | Header:
            try:
                if read_whole(path).startswith(JPEG_SIGNATURE) and not decoders.empty():
                    _refuse_damaged_jpeg(path, decoders)
                else:
                    read_image(path)
                return read_header(path)
            except DataLayoutError as error:
                return error

        found = list(zip(paths, map_in_threads(label, attempt, paths, "images"), strict=True))
    turned = []
    for path, result in found:
        if isinstance(result, DataLayoutError):
            problems.add_error(result)
        elif result.turned:
            turned.append(f"{path} (orientation {result.orientation})")
    if turned:
        note(
            f"an EXIF tag turns {len(turned)} images when they are read, but no masks: {shortened(turned)}. "
            "Where masks were drawn on the stored pixels, write the images without the tag."
        )
    return [path for path, result in found if isinstance(result, Header)]


class _Decoder:
    """A process that decodes one image after the other, so that what the decoder says of each can be read."""

    def __enter__(self) -> _Decoder:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", DECODER], stdin=pipe, stderr=pipe, bufsize=0)
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def warnings(self, path: Path) -> str:
        """What the decoder says of a file; '' where it is whole."""
        to, of = self._process.stdin, self._process.stderr
        assert to is not None
        assert of is not None
        to.write(os.fsencode(path.resolve()) + b"\n")
        said = b""
        while not said.endswith(b"\0"):
            if not (more := of.read(4096)):
                return "the decoder crashed"
            said += more
        return said[:-1].decode(errors="replace").strip()


def _refuse_damaged_jpeg(path: Path, decoders: queue.SimpleQueue[_Decoder]) -> None:
    decoder = decoders.get()
    try:
        if said := decoder.warnings(path):
            raise DataLayoutError(
                f"{path}: the JPEG is damaged ({said.splitlines()[0]}). Download it again; where the whole image looks "
                "right, save it anew."
            )
    finally:
        decoders.put(decoder)
