"""One seed for each random decision, so that it does not depend on what was decided before it.

A job that goes on after a stop, or prepares images in another order, then draws the same numbers as one that did not.
"""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A seed in 0 .. 2**31 - 1 that depends on every one of `parts` and on their order.

    >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(1, 0)
    (True, False)
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1
