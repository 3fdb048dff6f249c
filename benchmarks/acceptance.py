"""Recompute every wanted figure from what was kept of the runs, and say whether it is met.

    python benchmarks/acceptance.py --table wsiseg
    python benchmarks/acceptance.py --table l8biome_rgb     (scores the third-party masks too, where the data is there)
    python benchmarks/acceptance.py --table understanding_clouds
    python benchmarks/acceptance.py --table segmentation    (networks, tiles, and every run of the three cloud sets)
    python benchmarks/acceptance.py --table arctic_sea_ice  (and hydro_rain; measures their speed too, minutes)
    python benchmarks/acceptance.py --table core            (measures the speed of the numerical core, as run.py does)

A figure that is not reached stays in the table, and so does one whose run was not kept: "not run".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from figures import RESULTS, Figure, as_markdown
from forecast_figures import arctic_sea_ice, hydro_rain

from skyfold.competition import build
from skyfold.config.blend import BlendConfig
from skyfold.config.experiment import TableConfig
from skyfold.config.files import load_config
from skyfold.config.run import RunConfig
from skyfold.files import read_json
from skyfold.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from skyfold.metrics.score_submission import score_submission
from skyfold.metrics.segmentation import MeanOfMaps, named_metric
from skyfold.postprocess.evaluate import difference
from skyfold.workspace import Workspace

CONFIGS = Path(__file__).parent.parent / "configs"


def kept_rows(data: str, run: str, column: str) -> np.ndarray | None:
    """Scores per image and class, (n, K), of a kept run; None where it was not run."""
    path = RESULTS / data / run / "rows.csv"
    if not path.is_file():
        return None
    table = pd.read_csv(path, dtype={"id": str})
    return table[[name for name in table.columns if name.startswith(f"{column} ")]].to_numpy(dtype=np.float64)


def kept_groups(data: str, run: str) -> np.ndarray:
    return pd.read_csv(RESULTS / data / run / "rows.csv", dtype={"id": str, "group": str})["group"].to_numpy(dtype=str)


def kept_figure(what: str, data: str, run: str, column: str, wanted: float | None = None, note: str = "") -> Figure:
    rows = kept_rows(data, run, column)
    if rows is None:
        return Figure(what, None, wanted, note=note)
    interval = bootstrap_interval(MeanOfMaps(), rows, groups=kept_groups(data, run))
    return Figure(what, interval.value, wanted, (interval.low, interval.high), note)


def gain(what: str, data: str, run: str, baseline: str) -> Figure:
    ours, theirs = kept_rows(data, run, "cv_cross_fitted"), kept_rows(data, baseline, "cv_cross_fitted")
    if ours is None or theirs is None:
        return Figure(what, None)
    found: Interval = paired_difference(MeanOfMaps(), ours, theirs, groups=kept_groups(data, run))
    return Figure(what, found.value, interval=(found.low, found.high), note="paired difference")


def segmentation_runs(data: str, baseline: str, single: float | None, blend: float | None) -> list[Figure]:
    """Every kept run of `data`, cross-fitted: the best single against `single`, the best blend against `blend`."""
    kept = sorted(path.parent.name for path in (RESULTS / data).glob("*/rows.csv"))
    blends = [name for name in kept if (RESULTS / data / name / "blend.json").is_file()]
    singles = [name for name in kept if name not in {baseline, *blends}]
    figures = [kept_figure(f"classical baseline {baseline}, cross-fitted", data, baseline, "cv_cross_fitted")]
    best = max(singles, key=lambda name: _mean(data, name), default="")
    for name in singles:
        figures.append(kept_figure(f"{name}, at 0.5", data, name, "cv_at_0.5"))
        wanted = single if name == best else None
        note = "best single" if name == best else ""
        figures.append(kept_figure(f"{name}, cross-fitted", data, name, "cv_cross_fitted", wanted, note))
    best_blend = max(blends, key=lambda name: _mean(data, name), default="blend")
    for name in blends or ["blend"]:
        is_best = name == best_blend
        figures.append(kept_figure(f"{name}, naive", data, name, "cv_in_sample"))
        figures.append(
            kept_figure(
                f"{name}, cross-fitted",
                data,
                name,
                "cv_cross_fitted",
                blend if is_best else None,
                "best blend" if is_best else "",
            )
        )
        figures.append(gain(f"{name} - best single", data, name, best))
        figures.append(gain(f"{name} - classical baseline", data, name, baseline))
    return figures


def wsiseg() -> list[Figure]:
    return segmentation_runs("wsiseg", "red_blue_ratio", single=0.9415, blend=0.9457)


def l8biome_rgb() -> list[Figure]:
    return [*segmentation_runs("l8biome_rgb", "brightness", single=None, blend=None), _third_party()]


def _third_party() -> Figure:
    """Masks that somebody else's model made of the patches of l8biome_rgb, scored by `score.py`."""
    what = "l8biome_rgb: third-party masks (pred_cdmamba)"
    data = load_config(CONFIGS / "l8biome_rgb" / "data.yaml").data
    folder = Workspace(CONFIGS.parent).data(data.folder)
    if not (folder / "pred_cdmamba").is_dir():
        return Figure(what, None, note=f"no such folder in {folder}")
    competition = build(data.competition, data.options, folder)
    scored = score_submission(competition, folder / "pred_cdmamba", folder / "masks")
    interval = (scored.interval.low, scored.interval.high)
    return Figure(what, scored.score, interval=interval)


def understanding_clouds() -> list[Figure]:
    """Whether final > before the gate > best single at 0.5 > all empty, for each seed of the sample's generator."""
    figures, held = [], 0
    paths = sorted((RESULTS / "clouds_demo").glob("seed*.json"))
    for path in paths:
        result = read_json(path)
        scores = result["scores"]
        order = [scores[name] for name in ("final", "before_gate", "best_single_at_0.5", "all_empty")]
        held += order == sorted(order, reverse=True) and len(set(order)) == len(order)
        for name, value in scores.items():
            figures.append(Figure(f"{path.stem}: {name.replace('_', ' ')}", value, note=f"{result['images']} images"))
        for name, gained in result["differences"].items():
            interval = (gained["low"], gained["high"])
            figures.append(Figure(f"{path.stem}: {name.replace('_', ' ')}", gained["value"], 0.0, interval))
    figures.append(Figure(f"seeds of {len(paths)} in which the order holds", float(held), 4.0))
    return figures


def segmentation() -> list[Figure]:
    """Networks and tiles as `segmentation.py` kept them; runs as `keep.py` did, each beside the data set's baseline."""
    kept = read_json(RESULTS / "segmentation.json") if (RESULTS / "segmentation.json").is_file() else {}
    figures = [_parameter_figure(name, counts) for name, counts in kept.get("parameters", {}).items()]
    figures = figures or [Figure("parameters, off the published count", None, 0.01, at_most=True)]
    tiles, csmask = kept.get("tiles", {}), kept.get("csmask", {})
    figures += [
        Figure("tiles of a constant model, off the model", tiles.get("constant"), 0.0, at_most=True),
        Figure(
            "steps at tile borders of a trained network, off those elsewhere",
            None if not tiles else abs(tiles["excess"]),
            0.05,
            note="" if not tiles else f"without overlap {tiles['excess_without_overlap']:+.2f}",
            at_most=True,
        ),
        Figure(
            "ukis-csmask encoder in Keras, off onnxruntime (r.m.s.)",
            csmask.get("mean_in_16_bits"),
            0.01,
            note="" if not csmask else f"at most {csmask['greatest_in_32_bits']:.1e} in 32 bits; in deviations",
            at_most=True,
        ),
    ]
    return [
        *figures,
        *_all_runs("wsiseg", "red_blue_ratio"),
        *_all_runs("l8biome_rgb", "brightness"),
        gain(
            "l8biome_rgb: unet_csmask - unet_efficientnetb4 from scratch",
            "l8biome_rgb",
            "unet_csmask",
            "unet_efficientnetb4",
        ),
        _third_party(),
        *_compared("wsiseg_classes"),
    ]


def _parameter_figure(name: str, counts: dict[str, float]) -> Figure:
    off = abs(counts["millions"] / counts["published"] - 1)
    what = f"parameters of {name}, off the published count"
    # A count published with one digit behind the point is itself off by up to 0.05.
    wanted = max(0.01, 0.05 / counts["published"])
    note = f"{counts['millions']:.2f} M, published {counts['published']:.4g} M" + ", to 0.05 M" * (wanted > 0.01)
    return Figure(what, off, wanted, note=note, at_most=True)


def _all_runs(data: str, baseline: str) -> list[Figure]:
    """Every run and blend that has a config, and every one that was kept, beside the classical baseline."""
    configs = configured(data)
    kept = {path.parent.name for path in (RESULTS / data).glob("*/rows.csv")}
    figures = [kept_figure(f"{data}: classical baseline {baseline}", data, baseline, "cv_cross_fitted")]
    for name in sorted((configs | kept) - {baseline}):
        figures.append(kept_figure(f"{data}: {name}, cross-fitted", data, name, "cv_cross_fitted"))
        figures.append(gain(f"{data}: {name} - {baseline}", data, name, baseline))
    return figures


def configured(data: str) -> set[str]:
    """Names of the runs and blends in the configs of a data set."""
    names: set[str] = set()
    for path in (CONFIGS / data).glob("*.yaml"):
        if path.stem == "training":  # keys that others take over
            continue
        config = load_config(path)
        blends = [config] if isinstance(config, BlendConfig) else []
        if isinstance(config, TableConfig):
            blends = [row.blend for row in config.models if row.blend]
            names |= {run.name for run in config.runs}
        elif isinstance(config, RunConfig):
            names.add(config.name)
        names |= {name for blend in blends for name in (blend.name, *(run.name for run in blend.members))}
    return names


def _compared(data: str) -> list[Figure]:
    """The rows of a table of blends by their kept scores, each minus the first."""
    table = load_config(CONFIGS / data / "classes.yaml")
    assert isinstance(table, TableConfig)
    figures: list[Figure] = []
    folders = [RESULTS / data / row.blend.name for row in table.models if row.blend]
    for row, folder in zip(table.models, folders, strict=True):
        if not (folder / "run.json").is_file():
            figures.append(Figure(f"{data}: {row.model}", None))
            continue
        scores = read_json(folder / "run.json")["scores"]
        metric = scores["metric"]
        interval = (scores["low"], scores["high"])
        figures.append(Figure(f"{data}: {row.model}", scores["cv_cross_fitted"], interval=interval, note=metric))
        if folder != folders[0] and (folders[0] / "rows.csv").is_file():
            found = difference(folder / "rows.csv", folders[0] / "rows.csv", metric=named_metric(metric))
            what = f"{data}: {row.model} - {table.models[0].model}"
            figures.append(Figure(what, found.value, interval=(found.low, found.high), note="paired difference"))
    return figures


TABLES: dict[str, Callable[[], list[Figure]]] = {
    "understanding_clouds": understanding_clouds,
    "wsiseg": wsiseg,
    "l8biome_rgb": l8biome_rgb,
    "segmentation": segmentation,
    "arctic_sea_ice": arctic_sea_ice,
    "hydro_rain": hydro_rain,
}
SPEED = {"arctic_sea_ice": "ice", "hydro_rain": "rain"}  # what of benchmarks/run.py stands below a table


def _mean(data: str, run: str) -> float:
    rows = kept_rows(data, run, "cv_cross_fitted")
    return -1.0 if rows is None else float(rows.mean())


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--table", choices=sorted({*TABLES, "core"}), required=True)
    given = arguments.parse_args(argv)
    if given.table == "core":
        import run

        print(run.as_markdown([line for lines in run.measure().values() for line in lines]))
    else:
        print(as_markdown(TABLES[given.table]()))
        if topic := SPEED.get(given.table):
            import run

            print("\n" + run.as_markdown(run.measure([topic])[topic]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
