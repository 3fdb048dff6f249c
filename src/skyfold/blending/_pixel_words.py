"""64 pixels as one machine word, for compiled loops: compare all at once, count the ones and find them.

Places in memory are named by their address; whoever calls must stay inside the array and keep it alive. Numba's cache
goes by the file of a compiled function: after a change here, save `_pixel_kernels.py` and `bagging.py` too.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 64
_WORD = ir.IntType(64)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_SUMS = ir.VectorType(ir.IntType(16), LANES)


@intrinsic
def above_each(typing: Any, address: Any, bars: Any) -> Any:
    """Bit j of the word: whether byte address + j is above byte bars + j; LLVM finds the machine's instructions."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pixels, levels = (
            builder.load(builder.inttoptr(place, ir.PointerType(_BYTES)), align=1, typ=_BYTES) for place in arguments
        )
        return builder.bitcast(builder.icmp_unsigned(">", pixels, levels), _WORD)

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def ones(typing: Any, word: Any) -> Any:
    """How many bits of `word` are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest_one(typing: Any, word: Any) -> Any:
    """The place of the lowest bit that is set; `word` is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def sum_of_bytes(typing: Any, addresses: Any, offset: Any, times: Any, count: Any, sums: Any) -> Any:
    """The sum over `count` arrays of times[m] x the 64 bytes from addresses[m] + offset on, as 64 numbers of 16 bits.

    addresses: where the arrays' addresses (int64) lie; times: where the factors (uint16) lie; sums: where to write.
    The sums stay in registers until all arrays are added.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, begin, factors, models, into = arguments
        half = ir.IntType(16)
        total = cgutils.alloca_once_value(builder, ir.Constant(_SUMS, [0] * LANES))
        nothing = ir.Constant(_SUMS, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        with cgutils.for_range(builder, models) as loop:
            place = builder.gep(builder.inttoptr(table, ir.PointerType(_WORD)), [loop.index], source_etype=_WORD)
            address = builder.add(builder.load(place, typ=_WORD), begin)
            pixels = builder.load(builder.inttoptr(address, ir.PointerType(_BYTES)), align=1, typ=_BYTES)
            at = builder.gep(builder.inttoptr(factors, ir.PointerType(half)), [loop.index], source_etype=half)
            one = builder.insert_element(nothing, builder.load(at, typ=half), ir.Constant(ir.IntType(32), 0))
            added = builder.mul(builder.zext(pixels, _SUMS), builder.shuffle_vector(one, nothing, first))
            builder.store(builder.add(builder.load(total), added), total)
        builder.store(builder.load(total), builder.inttoptr(into, ir.PointerType(_SUMS)), align=2)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def byte_at(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8)
        return builder.load(builder.inttoptr(arguments[0], ir.PointerType(byte)), typ=byte)

    return types.uint8(types.int64), generate
