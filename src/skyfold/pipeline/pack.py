"""Pack a trained blend, a run by itself, or a forecast, into a bundle that predicts anywhere."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from skyfold import plugins
from skyfold.blending.recipe import Combination
from skyfold.config.blend import BlendConfig
from skyfold.config.forecasts import FORECASTING, ForecastConfig, ForecastModel
from skyfold.config.run import RunConfig
from skyfold.config.training import NAMED_WEIGHTS
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.forecast_sums import read_sums
from skyfold.models import RuleFamily, family_of
from skyfold.pipeline.baselines import fitted_for_test, stored_config
from skyfold.pipeline.check_forecasts import named
from skyfold.pipeline.kernel import kernel_files
from skyfold.pipeline.precision import note_differences
from skyfold.store.bundle import write_bundle
from skyfold.store.contents import require_unchanged
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles
from skyfold.store.folds import Folds
from skyfold.store.locks import held
from skyfold.store.records import FitRecord, read_record
from skyfold.store.runs import RunInfo, read_info
from skyfold.store.wheels import canonical, installed, required, wheel
from skyfold.tasks import task_class
from skyfold.tasks.stored_blend import of_members, read_blend, read_member
from skyfold.tasks.task import Task
from skyfold.training import backend
from skyfold.training.source_run import stored_config as config_of_run
from skyfold.types import JsonDict
from skyfold.version import __version__
from skyfold.workspace import Workspace

# Of what skyfold requires: for training and tuning, and for some families, which name them.
NOT_TO_PREDICT = {"albumentations", "efficientnet", "optuna", "segmentation-models", "sqlalchemy"}
Files = dict[str, Path | str | bytes]  # by path in the bundle, as `write_bundle`
VERSIONS = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "numba")


def pack(
    config: BlendConfig | ForecastConfig,
    workspace: Workspace,
    out: Path,
    *,
    licence: str | None = None,
    kernel: bool = False,
) -> Path:
    """Write a bundle to the folder or zip file `out`: the fits that the test rows are predicted with, and all that was
    chosen. Of forecasts, the last one and its members. With `kernel` a Kaggle kernel, too.

    ConfigError where a member cannot be packed, or `out` is there; OofMismatch as `read_blend`, or where a forecast was
    made with another config or of other data.
    """
    folder, task = workspace.run(config.data.folder, config.name), task_of(config)
    if not task.OUTPUTS:
        raise ConfigError(f"'{config.name}': runs of this task cannot be packed by themselves.")
    names = [one.name for one in (config.forecasts if isinstance(config, ForecastConfig) else config.members)]
    with held(reads=[folder, *(folder.with_name(name) for name in names)]):
        dataset = open_dataset(config.data, workspace)
        competition = dataset.competition
        files: Files = {}
        if isinstance(config, ForecastConfig):
            of_kind = _of_forecasts(config, dataset, workspace, files)
        else:
            of_kind = _of_blend(config, dataset, workspace, files)
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
        files |= {f"wheels/{name}": content for name, content in map(wheel, carried)}
        made = kernel_files(manifest, competition.kaggle) if kernel else {}
        return write_bundle(out, {**files, **made, "README.md": model_card(manifest)}, manifest, editable=made)


def task_of(config: BlendConfig | ForecastConfig) -> type[Task]:
    """The task of what is packed."""
    return task_class(FORECASTING if isinstance(config, ForecastConfig) else config.task)


def _of_blend(config: BlendConfig, dataset: Dataset, workspace: Workspace, files: Files) -> JsonDict:
    """The part of the manifest that is of a blend."""
    blend = read_blend(config, workspace, dataset.contents)
    for run in config.runs:
        note_differences(run, dataset, workspace)
    folder = workspace.run(config.data.folder, config.name)
    members = [_bundled(folder.with_name(made["name"]), dataset.folds, files) for made in of_members(blend)]
    return {
        "task": config.task,
        "gate": members.pop() if blend["gate"] else None,
        "runs": members,
        "combination": blend["combination"]["whole"],
        "selection": blend["selection"],
        "presence_stack": blend.get("presence_stack"),
        "scores": blend["scores"]["final"],
        "metric": blend["metric"],
    }


def _of_forecasts(config: ForecastConfig, dataset: Dataset, workspace: Workspace, files: Files) -> JsonDict:
    """The part of the manifest that is of the last forecast and its members."""
    needed, runs, families = {config.forecasts[-1].name}, list[JsonDict](), list[JsonDict]()
    for model in reversed(config.forecasts):
        if model.name in needed:
            needed.update(model.members)
    for model in config.forecasts:
        folder = workspace.run(config.data.folder, model.name)
        if model.name not in needed:
            continue
        if model.run is not None:
            read_member(model.run, dataset, workspace)
            runs.append(_bundled(folder, dataset.folds, files))
            continue
        with named(model):
            families.append(_bundled_family(model, folder, dataset))
    sums = read_sums(workspace.run(config.data.folder, config.forecasts[-1].name))
    found = sums.interval()
    scores = {"cv_cross_fitted": found.value, "low": found.low, "high": found.high}
    return {
        "task": FORECASTING,
        "gate": None,
        "runs": runs,
        "combination": Combination("mean").to_dict(),
        "selection": {"final": None},
        "presence_stack": None,
        "scores": {name: value for name, value in scores.items() if math.isfinite(value)},
        "metric": sums.metric.name,
        "forecasts": families,
    }


def _bundled_family(model: ForecastModel, folder: Path, dataset: Dataset) -> JsonDict:
    """What the manifest says of a forecast of a family.

    OofMismatch where the stored one is of another config or of other data.
    """
    if read_info(folder).config != stored_config(model, folder):
        raise OofMismatch(f"{folder}: made with another config than its file has now. Run `skyfold run` on it.")
    require_unchanged(
        folder, dataset.contents.of("train"), since=f"forecast '{model.name}' was made", remedy="Run `skyfold run`."
    )
    about = model.model_dump(mode="json", include={"name", "family", "options", "members"})
    return {**about, "fitted": fitted_for_test(model, dataset, folder)}


def _bundled(folder: Path, folds: Folds, files: Files) -> JsonDict:
    """What the manifest says of the run in `folder`; the weights of its fits are added to `files`."""
    info = read_info(folder)
    if info.kind != "run":
        raise ConfigError(f"run '{info.name}' is {info.kind} and has no weights to pack. Leave it out of the config.")
    config = config_of_run(folder, info)
    fits = []
    for fold in folds.of_test:
        for seed in [] if isinstance(family_of(config.model), RuleFamily) else config.training.seeds:
            fit = FitFiles(folder / "models", fold, seed)
            if (result := fit.result(Fingerprint(folds=folds.hash()))) is None:
                raise ConfigError(f"run '{info.name}' has not finished fold {fold} with seed {seed}. Train it first.")
            result = fit.with_checksum(result)
            result.verify()
            name = f"runs/{info.name}/{fit.weights.name}"
            files[name] = fit.weights
            fits.append({"weights": name, **read_record(fit.about, FitRecord, remedy="")})
    fingerprint = info.fingerprint.to_json()
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


def model_card(manifest: JsonDict) -> str:
    """What a bundle is and how it predicts, in Markdown."""
    scores, task = manifest["scores"], task_class(manifest["task"])
    fits = sum(len(run["fits"]) for run in manifest["runs"])
    lines = [
        f"# {manifest['name']}",
        "",
        f"{len(manifest['runs'])} runs ({fits} fits) for `{manifest['competition']['name']}`, packed by skyfold "
        f"{manifest['versions']['skyfold']}.",
        "",
        "```bash",
        f"skyfold predict {manifest['name']} {task.GIVEN} --out PREDICTIONS",
        "```",
        "",
        "On a machine without skyfold, first `pip install --no-index --no-deps wheels/*.whl`.",
        "",
        *task.bundle_lines(manifest),
        f"- **Score**: {manifest['metric']} {_score(scores)}, out of fold, choices cross-fitted.",
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


def _score(scores: JsonDict) -> str:
    """An interval of a few cases, and so the score of none, may not be known."""
    value, low, high = (f"{scores[name]:.4f}" if name in scores else "-" for name in ("cv_cross_fitted", "low", "high"))
    return f"{value} ({low} to {high})"
