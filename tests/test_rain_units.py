"""Radar numbers become mm/h and come back; on the logarithmic scale no rain is 0, and nothing is below it."""

import numpy as np
import pytest

from skyfold.forecasting.rain_units import log_rain, rain_of_codes, rain_of_log, rain_of_raw, raw_of_rain


def test_reflectivity_worked_by_hand():
    """2301 is 23.01 dBZ: Z = 10 ** 2.301 = 200, R = (200 / 200) ** (1 / 1.6) = 1. 16 dB more is ten times the rain."""
    np.testing.assert_allclose(rain_of_raw(np.array([2301, 3901, 701])), [1.0, 10.0, 0.1], rtol=1e-3)


def test_no_echo_and_no_data_are_no_rain():
    assert rain_of_raw(np.array([0, -1, -9999], dtype=np.int16)).tolist() == [0.0, 0.0, 0.0]


def test_rain_survives_the_way_to_the_file_and_back():
    rain = np.concatenate([[0.0], np.geomspace(0.04, 300, 500)]).astype(np.float32)
    back = rain_of_raw(raw_of_rain(rain))
    np.testing.assert_allclose(back, rain, rtol=3e-4)
    assert back[0] == 0.0


@pytest.mark.parametrize("threshold", [0.1, 1.0, 5.0])
def test_rain_at_a_threshold_still_reaches_it_in_the_file(threshold):
    assert rain_of_raw(raw_of_rain(np.array([threshold], dtype=np.float32)))[0] >= threshold


def test_codes_worked_by_hand():
    """Code 1 is 0.05; half-way to 254, code 127.5, would be 0.05 * sqrt(4000) = 3.16: 127 and 128 lie around it."""
    rain = rain_of_codes(np.array([[0, 1], [127, 128]], dtype=np.uint8))
    assert rain.shape == (2, 2)
    np.testing.assert_allclose(rain[0], [0.0, 0.05])
    assert rain[1, 0] < 0.05 * np.sqrt(4000) < rain[1, 1]


def test_the_logarithmic_scale_has_its_zero_at_no_rain_and_is_undone():
    """log(1 + 0.1 / 0.1) = log 2. The scale log(x + 0.01) would give -4.6 for no rain, and a model with outputs below 0
    would say exp(-4.6) - 0.01 = 0 everywhere."""
    rain = np.array([0.0, 0.1, 200.0], dtype=np.float32)
    logs = log_rain(rain)
    assert logs[0] == 0.0
    assert logs[1] == pytest.approx(np.log(2))
    assert logs.dtype == np.float32
    np.testing.assert_allclose(rain_of_log(logs), rain, rtol=1e-5)
    assert rain_of_log(np.array([-3.0])).tolist() == [0.0]
    assert (np.diff(log_rain(np.geomspace(1e-6, 500, 99))) > 0).all()
