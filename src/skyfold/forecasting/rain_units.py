"""What radar numbers mean in mm/h, and rain on a logarithmic scale on which no rain is 0.

Three kinds of numbers: raw reflectivity as the hydro-dam contest has it (hundredths of dBZ, -9999: no data), codes of
one byte as `patches.npz` has them, and rain in mm/h, which everything else computes with.
"""

from __future__ import annotations

import numpy as np

RAW_PER_DBZ = 100.0  # assumed, as is that raw 0 means no echo: no rain, not the 0.04 mm/h of 0 dBZ
MARSHALL_PALMER = (200.0, 1.6)  # Z = a R ** b
LEAST_RAW, GREATEST_RAW = -9000, 9000  # 90 dBZ are some 15 m/h: beyond them a number is no reflectivity
NO_DATA = -9999  # the only raw number that is no measurement: a weak echo is negative, too
GREATEST_CODE = 254
GREATEST_RAIN = 1000.0  # mm/h: beyond it a number is no rain
LEAST_RAIN, RAIN_RANGE = 0.05, 4000.0  # mm/h: of code 1, and of code 254 over code 1
LOG_FLOOR = 0.1  # mm/h: about where the logarithmic scale turns linear, so that it can reach 0


def rain_of_raw(raw: np.ndarray) -> np.ndarray:
    """Raw reflectivity to mm/h, float32; 0 (no echo), negative (a weak one) and `NO_DATA` become 0.

    >>> rain_of_raw(np.array([-9999, -3200, 0, 2301, 3901])).round(1).tolist()  # 23.01 dBZ is Z = 200, R = 1
    [0.0, 0.0, 0.0, 1.0, 10.0]
    """
    factor, exponent = MARSHALL_PALMER
    dbz = np.asarray(raw, dtype=np.float64) / RAW_PER_DBZ
    rain = (10.0 ** (dbz / 10.0) / factor) ** (1.0 / exponent)
    return np.where(dbz > 0, rain, 0.0).astype(np.float32)


def raw_of_rain(rain: np.ndarray) -> np.ndarray:
    """mm/h to raw reflectivity, float64, a tenth of a unit (0.001 dBZ) fine; what would be below 0 is 0.

    Rounded up, so that rain that reaches a threshold reaches it as reflectivity, too.

    >>> raw_of_rain(np.array([0.0, 0.01, 0.1, 1.0])).tolist()
    [0.0, 0.0, 701.1, 2301.1]
    """
    factor, exponent = MARSHALL_PALMER
    with np.errstate(divide="ignore"):
        dbz = 10.0 * np.log10(factor * np.asarray(rain, dtype=np.float64) ** exponent)
    return np.maximum(np.ceil(dbz * RAW_PER_DBZ * 10.0) / 10.0, 0.0)


def below_any_echo(raw: np.ndarray) -> np.ndarray:
    """Where raw numbers are too low to be an echo and not `NO_DATA`, as other programs mark missing data: bool."""
    return np.asarray((raw < LEAST_RAW) & (raw != NO_DATA))


def rain_of_codes(codes: np.ndarray) -> np.ndarray:
    """Codes 0..254 of one byte to mm/h, float32: 0 is less than 0.05 mm/h, k is 0.05 * 4000 ** ((k - 1) / 253).

    >>> rain_of_codes(np.array([0, 1, 254], dtype=np.uint8)).tolist()
    [0.0, 0.05000000074505806, 200.0]
    """
    return np.asarray(_CODE_TABLE[codes])


def log_rain(rain: np.ndarray) -> np.ndarray:
    """log(1 + rain / 0.1) of rain in mm/h, float32.

    No rain stays 0, and every value is at least 0. `rain_of_log` is the inverse.
    """
    return np.log1p(np.asarray(rain, dtype=np.float32) / np.float32(LOG_FLOOR))


def rain_of_log(logs: np.ndarray) -> np.ndarray:
    """Rain in mm/h, float32: the inverse of `log_rain`.

    Values below 0, which a network may give, are no rain.
    """
    return np.float32(LOG_FLOOR) * np.expm1(np.maximum(np.asarray(logs, dtype=np.float32), 0))


_CODE_TABLE = np.concatenate([[0.0], LEAST_RAIN * RAIN_RANGE ** (np.arange(GREATEST_CODE) / (GREATEST_CODE - 1))])
_CODE_TABLE = _CODE_TABLE.astype(np.float32)
