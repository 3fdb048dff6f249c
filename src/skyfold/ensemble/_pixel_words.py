"""64 pixels as one machine word, for compiled loops: compare all at once, count the ones and find them.

Places in memory are named by their address; whoever calls must stay inside the array and keep it alive. Numba's cache
goes by the file of a compiled function: after a change here, save `_pixel_kernels.py` too.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 64
_WORD = ir.IntType(64)
_BYTES = ir.VectorType(ir.IntType(8), LANES)


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
