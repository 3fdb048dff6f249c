"""Pack a trained blend, or a run by itself, into a bundle that predicts anywhere."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import skyfold
from skyfold import plugins
from skyfold.config.blend import BlendConfig
from skyfold.config.run import RunConfig
from skyfold.config.training import NAMED_WEIGHTS
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError
from skyfold.models import RuleFamily, family_of
from skyfold.pipeline.kernel import kernel_files
from skyfold.store.bundle import write_bundle
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles
from skyfold.store.folds import Folds
from skyfold.store.locks import held
from skyfold.store.records import FitRecord, read_record
from skyfold.store.runs import RunInfo, read_info
from skyfold.store.wheels import canonical, installed, required, wheel
from skyfold.tasks.stored_blend import of_members, read_blend
from skyfold.training import backend
from skyfold.training.source_run import stored_config
from skyfold.types import JsonDict
from skyfold.workspace import Workspace

# Of what skyfold requires: for training and tuning, and for some families, which name them.
NOT_TO_PREDICT = {"albumentations", "efficientnet", "optuna", "segmentation-models", "sqlalchemy"}
VERSIONS = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "numba")


def pack(
    config: BlendConfig, workspace: Workspace, out: Path, *, licence: str | None = None, kernel: bool = False
) -> Path:
    """Write the bundle of a blend to the folder or zip file `out`: the fits that its test rows are predicted with, and
    all that was chosen; with `kernel` a Kaggle kernel, too.

    ConfigError where a member has no weights of its own, or `out` is there; OofMismatch as `read_blend`.
    """
    folder = workspace.run(config.data.folder, config.name)
    with held(reads=[folder, *(folder.with_name(run.name) for run in config.members)]):
        dataset = open_dataset(config.data, workspace)
        blend = read_blend(config, workspace, dataset.contents)
        files: dict[str, Path | str | bytes] = {}
        members = [_bundled(folder.with_name(made["name"]), dataset.folds, files) for made in of_members(blend)]
        gate = members.pop() if blend["gate"] else None
        competition = dataset.competition
        carried = ["skyfold", *sorted({name for run in config.members for name in family_of(run.model).distributions})]
        manifest: JsonDict = {
            "requires": [],
            "name": config.name,
            "task": config.task,
            "classes": list(competition.classes),
            "competition": {"name": competition.name, "options": _options(config, dataset)},
            "inputs": _inputs(dataset),
            "runs": members,
            "gate": gate,
            "combination": blend["combination"]["whole"],
            "selection": blend["selection"],
            "presence_stack": blend.get("presence_stack"),
            "scores": blend["scores"]["final"],
            "metric": blend["metric"],
            "folds": dataset.folds.hash(),
            "needs": _needs(carried),
            "versions": {"skyfold": skyfold.__version__, "python": platform.python_version(), **_versions(VERSIONS)},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "licence": licence,
            "plugins": _plugins(config, blend),
        }
        files |= {f"wheels/{name}": content for name, content in map(wheel, carried)}
        made = kernel_files(manifest, competition.kaggle) if kernel else {}
        return write_bundle(out, {**files, **made, "README.md": model_card(manifest)}, manifest, editable=made)


def _bundled(folder: Path, folds: Folds, files: dict[str, Path | str | bytes]) -> JsonDict:
    """What the manifest says of the run in `folder`; the weights of its fits are added to `files`."""
    info = read_info(folder)
    if info.kind != "run":
        raise ConfigError(
            f"run '{info.name}' is {info.kind} and has no weights to pack. Leave it out of the blend's runs."
        )
    config = stored_config(folder, info)
    fits = []
    # As `run_folds` predicts the test part: where folds follow each other in time, the last one has seen all.
    for fold in range(folds.k - 1, folds.k) if folds.times is not None else range(folds.k):
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


def _options(config: BlendConfig, dataset: Dataset) -> JsonDict:
    """Options of the competition, with the grid that the data settled."""
    competition = dataset.competition
    options = dict(config.data.options)
    takes_grid = "grid" in plugins.load("competitions", competition.name).PLUGIN.model_fields
    if takes_grid and competition.grid is not None:
        options["grid"] = list(competition.grid)
    return options


def _inputs(dataset: Dataset) -> JsonDict:
    first = dataset.train.inputs[0]
    return {"bands": int(first.shape[-1]), "dtype": first.dtype.name}


def _plugins(config: BlendConfig, blend: JsonDict) -> dict[str, str]:
    """Digests of the code outside skyfold that predicting runs, by package and name ("models/mine")."""
    used = {("competitions", config.data.competition)}
    used |= {("models", run.model.family) for run in config.members}
    used |= {("postprocess.rules", one["rule"]) for one in blend["selection"].values() if one}
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
    scores, inputs = manifest["scores"], manifest["inputs"]
    fits = sum(len(run["fits"]) for run in manifest["runs"])
    lines = [
        f"# {manifest['name']}",
        "",
        f"A blend of {len(manifest['runs'])} runs ({fits} fits) for `{manifest['competition']['name']}`, packed by "
        f"skyfold {manifest['versions']['skyfold']}.",
        "",
        "```bash",
        f"skyfold predict {manifest['name']} --images DIR --out PREDICTIONS",
        "```",
        "",
        "On a machine without skyfold, first `pip install --no-index --no-deps wheels/*.whl`.",
        "",
        f"- **Images**: {inputs['bands']} bands of {inputs['dtype']}, of any size.",
        f"- **Classes**: {', '.join(manifest['classes'])}.",
        f"- **Score**: {manifest['metric']} {_score(scores)}, out of fold, choices cross-fitted.",
        f"- **Runs**: {', '.join(_run_line(run) for run in _runs(manifest))}.",
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
    return f"{scores['cv_cross_fitted']:.4f} ({scores['low']:.4f} to {scores['high']:.4f})"
