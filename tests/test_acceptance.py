"""The acceptance tables say what was wanted, what was measured, and whether it is met."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def acceptance(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("acceptance")


def test_the_page_of_results_is_what_its_text_and_the_kept_results_make(acceptance):
    results_page = importlib.import_module("results_page")
    assert results_page.PAGE.read_text() == results_page.page(), "stale: run python benchmarks/results_page.py"


@pytest.mark.parametrize(
    ("measured", "at_most", "cells"),
    [
        (0.5, False, [">= 0.5000", "0.5000", "met"]),
        (0.4, False, [">= 0.5000", "0.4000", "missed"]),
        (0.4, True, ["<= 0.5000", "0.4000", "met"]),
        (0.6, True, ["<= 0.5000", "0.6000", "missed"]),
        (None, True, ["<= 0.5000", "not run", "missed"]),
    ],
)
def test_a_figure_is_met_from_its_own_side(acceptance, measured, at_most, cells):
    found = acceptance.Figure("x", measured, 0.5, at_most=at_most).cells()
    assert [found[1], found[2], found[4]] == cells


def test_the_table_of_segmentation_has_every_run_that_has_a_config(acceptance, monkeypatch, tmp_path):
    """Of the third-party masks too, which are not scored where the data is not there."""
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    text = acceptance.as_markdown(acceptance.segmentation())
    assert "| wsiseg: unet_resnet18, cross-fitted " in text
    assert "| tiles of a constant model, off the model " in text
    configured = acceptance.configured("l8biome_rgb")
    assert len(configured) == 21
    for name in configured - {"brightness"}:
        assert f"| l8biome_rgb: {name}, cross-fitted " in text
    (third,) = [line for line in text.splitlines() if "pred_cdmamba" in line]
    assert "not run" in third
    monkeypatch.setattr(acceptance, "RESULTS", tmp_path)
    nothing = acceptance.as_markdown(acceptance.segmentation()).splitlines()
    assert all("not run" in line for line in nothing[2:])
