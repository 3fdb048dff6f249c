"""Bytes of memory as machine words, for compiled loops: what NumPy and numba have no name for.

Places in memory are named by their address, so that one compiled function serves arrays of any layout, and no
references are counted in an inner loop. Whoever calls must stay inside the array and keep it alive. Numba's cache
goes by the file of a compiled function: after a change here, save `_mask_kernels.py` and `_text_kernels.py` too.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 64
_BYTE, _INT32, _WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES = ir.VectorType(_BYTE, LANES)
_TEXT = ir.VectorType(_BYTE, 16)
_BITS = ir.VectorType(ir.IntType(1), LANES)


@intrinsic
def above_at(typing: Any, address: Any, level: Any) -> Any:
    """Bit j of the word: whether byte address + j is above `level`. LLVM finds the instructions of the machine."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pixels = builder.load(builder.inttoptr(arguments[0], ir.PointerType(_BYTES)), align=1, typ=_BYTES)
        nothing = ir.Constant(_BYTES, ir.Undefined)
        one = builder.insert_element(nothing, arguments[1], ir.Constant(_INT32, 0))
        levels = builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES))
        return builder.bitcast(builder.icmp_unsigned(">", pixels, levels), _WORD)

    return types.uint64(types.int64, types.uint8), generate


@intrinsic
def store_bits_at(typing: Any, address: Any, word: Any) -> Any:
    """Byte address + j becomes bit j of `word`, 0 or 1, for 64 bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.PointerType(_BYTES))
        builder.store(builder.zext(builder.bitcast(arguments[1], _BITS), _BYTES), pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), generate


@intrinsic
def eight_bytes_at(typing: Any, address: Any) -> Any:
    """The bytes from `address` on as one number, the first byte lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read = builder.load(builder.inttoptr(arguments[0], ir.PointerType(_WORD)), align=1, typ=_WORD)
        return read if sys.byteorder == "little" else builder.bswap(read)

    return types.uint64(types.int64), generate


@intrinsic
def other_than_digits_at(typing: Any, address: Any) -> Any:
    """Bit j of the word: whether byte address + j is anything but '0' to '9', for 16 bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        text = builder.load(builder.inttoptr(arguments[0], ir.PointerType(_TEXT)), align=1, typ=_TEXT)
        above_zero = builder.sub(text, ir.Constant(_TEXT, [ord("0")] * 16))  # wraps around for what comes before '0'
        others = builder.icmp_unsigned(">", above_zero, ir.Constant(_TEXT, [9] * 16))
        return builder.zext(builder.bitcast(others, ir.IntType(16)), _WORD)

    return types.uint64(types.int64), generate


@intrinsic
def byte_at(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.PointerType(_BYTE)), typ=_BYTE)

    return types.uint8(types.int64), generate


@intrinsic
def store_byte_at(typing: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], ir.PointerType(_BYTE)))
        return context.get_dummy_value()

    return types.void(types.int64, types.uint8), generate


@intrinsic
def lowest_bit(typing: Any, word: Any) -> Any:
    """The place of the lowest set bit; `word` is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate
