"""The acceptance tables say what was wanted, what was measured, and whether it is met."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def acceptance(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("acceptance")


def test_the_page_of_results_is_what_its_text_and_the_kept_results_make(acceptance: ModuleType) -> None:
    results_page = importlib.import_module("results_page")
    assert results_page.PAGE.read_text() == results_page.page(), "stale: run python benchmarks/results_page.py"


def test_a_figure_is_met_from_its_own_side(acceptance: ModuleType) -> None:
    def verdict(measured: float | None, *, at_most: bool = False) -> list[str]:
        cells = acceptance.Figure("x", measured, 0.5, at_most=at_most).cells()
        return [cells[1], cells[2], cells[4]]

    assert verdict(0.5) == [">= 0.5000", "0.5000", "met"]
    assert verdict(0.4) == [">= 0.5000", "0.4000", "missed"]
    assert verdict(0.4, at_most=True) == ["<= 0.5000", "0.4000", "met"]
    assert verdict(0.6, at_most=True) == ["<= 0.5000", "0.6000", "missed"]
    assert verdict(None, at_most=True) == ["<= 0.5000", "not run", "missed"]


def test_the_table_of_segmentation_has_every_run_that_has_a_config(
    acceptance: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the third-party masks too, which are not scored where the data is not there."""
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    text = acceptance.as_markdown(acceptance.segmentation())
    assert "| wsiseg: unet_resnet18, cross-fitted " in text
    assert "| tiles of a constant model, off the model " in text
    configured = acceptance.configured("l8biome_rgb")
    assert len(configured) == 19
    for name in configured - {"brightness"}:
        assert f"| l8biome_rgb: {name}, cross-fitted " in text
    (third,) = [line for line in text.splitlines() if "pred_cdmamba" in line]
    assert "not run" in third
    monkeypatch.setattr(acceptance, "RESULTS", tmp_path)
    nothing = acceptance.as_markdown(acceptance.segmentation()).splitlines()
    assert all("not run" in line for line in nothing[2:])
