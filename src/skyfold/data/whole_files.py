"""Bytes of JPEG, PNG, WebP and BMP files, checked to be whole.

Decoders may fill the missing part of a truncated file with grey, silently. So the bytes are checked first: a JPEG must
reach its end marker, each chunk of a PNG must match its checksum, WebP and BMP must be as long as they say.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from skyfold.errors import DataLayoutError
from skyfold.files import read_bytes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_CHUNK = 25  # bytes, with length, name and checksum
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
JPEG_SCAN = 0xDA
RIFF, WEBP, ANIMATION = b"RIFF", b"WEBP", b"ANIM"
RIFF_HEADER = 12  # bytes: RIFF, size, WEBP
BMP_SIGNATURE = b"BM"
BMP_HEADER = 54  # bytes, of the kind that all but OS/2 writes
NOT_PACKED = (0, 3, 6)  # compressions: none, and bits of each band by masks


def read_whole(path: Path) -> bytes:
    """The bytes of a JPEG, PNG, WebP or BMP file, whatever its name; DataLayoutError where it is none of these, cut
    short, or a PNG that is damaged."""
    data = read_bytes(path, "an image")
    if data.startswith(JPEG_SIGNATURE):
        _refuse_cut_jpeg(path, data)
    elif data.startswith(PNG_SIGNATURE):
        _refuse_damaged_png(path, data)
    elif is_webp(data):
        _refuse_cut_webp(path, data)
    elif is_bmp(data):
        _refuse_cut_bmp(path, data)
    else:
        raise DataLayoutError(f"{path}: neither JPEG nor PNG, WebP or BMP. Convert it, or download it again.")
    return data


def is_webp(data: bytes) -> bool:
    """Whether `data` begin as a WebP file does."""
    return data.startswith(RIFF) and data[8:RIFF_HEADER] == WEBP


def is_bmp(data: bytes) -> bool:
    """Whether `data` begin as a BMP file does."""
    return data.startswith(BMP_SIGNATURE) and len(data) >= BMP_HEADER


def _refuse_cut_jpeg(path: Path, data: bytes) -> None:
    """The end marker must follow the first scan: one before it belongs to a thumbnail; within a scan none can occur."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != JPEG_SCAN:
        if data[position + 1] == 0xFF:  # a marker may have any number of these before it
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if data.find(JPEG_END, position) < 0:
        raise DataLayoutError(f"{path}: the JPEG is cut short ({len(data)} bytes, no end marker). Download it again.")


def _refuse_damaged_png(path: Path, data: bytes) -> None:
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            name = kind.decode("latin-1")
            raise DataLayoutError(f"{path}: the PNG is damaged (checksum of chunk {name}). Download it again.")
        if kind == b"IHDR" and end - position != PNG_HEADER_CHUNK:
            raise DataLayoutError(f"{path}: the PNG is damaged (a header of another length). Download it again.")
        if kind == b"IEND":
            return
        position = end
    raise DataLayoutError(f"{path}: the PNG is cut short ({len(data)} bytes, no end chunk). Download it again.")


def _refuse_cut_webp(path: Path, data: bytes) -> None:
    if (size := 8 + int.from_bytes(data[4:8], "little")) > len(data):
        raise DataLayoutError(f"{path}: the WebP is cut short ({len(data)} bytes of {size}). Download it again.")
    position = RIFF_HEADER
    while position + 8 <= size:
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if kind == ANIMATION:
            raise DataLayoutError(f"{path}: an animated WebP, expected one image. Write its frames as files.")
        position += 8 + length + length % 2  # chunks begin at even places
    if position < size:
        raise DataLayoutError(f"{path}: the WebP is damaged (chunks of another length). Download it again.")


def _refuse_cut_bmp(path: Path, data: bytes) -> None:
    start, header, width = (int.from_bytes(data[i : i + 4], "little") for i in (10, 14, 18))
    height = abs(int.from_bytes(data[22:26], "little", signed=True))
    bits, compression = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    if header < BMP_HEADER - 14 or compression not in NOT_PACKED:
        raise DataLayoutError(f"{path}: a BMP of OS/2, or compressed. Write it as PNG.")
    if start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise DataLayoutError(f"{path}: the BMP is cut short ({len(data)} bytes). Download it again.")
