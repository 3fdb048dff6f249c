"""The subcommands of `skyfold`. The first line of a docstring is the summary in `skyfold --help`.

Those with --json return what it prints: what was done, files, and figures with all digits.
Everything that a command needs is imported inside its function, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyfold.config.data import DataConfig
    from skyfold.data.dataset import Dataset
    from skyfold.types import JsonDict
    from skyfold.workspace import Workspace


def prepare(given: Namespace) -> JsonDict:
    """Check a competition's files and write folds.csv.

    With --sample, write a small procedural sample of the same layout first. An existing folds.csv is kept.
    """
    from skyfold.pipeline.prepare import prepare
    from skyfold.store.folds import read_folds

    data, project = _data_config(given.competition, given), workspace(given)
    lines = prepare(data, project, sample=given.sample)
    print("\n".join(lines))
    path = project.folds(data.folder)
    fold = read_folds(path).fold.tolist()
    sizes = {k: fold.count(k) for k in range(max(fold) + 1)}
    return {"files": [path], "samples": len(fold), "samples_per_fold": sizes, "notes": lines}


def audit(given: Namespace) -> JsonDict:
    """Look for leaks before training: copies across folds and parts, groups across folds, a test part unlike training.

    Copies are also found mirrored, turned, resized, recompressed, brighter or darker. Nothing is changed. Instead, with
    --labels, rank the training images by how likely their masks are wrong; with --plan, suggest the config of a run.
    """
    from skyfold.errors import ConfigError

    data, project = _data_config(given.competition, given), workspace(given)
    if given.time_budget and not given.plan:
        raise ConfigError("--time-budget: is for --plan FILE.yaml. Give both, or neither.")
    if given.plan:
        from skyfold.pipeline.bundle_choice import seconds_of
        from skyfold.pipeline.plan import plan

        budget = None if given.time_budget is None else seconds_of(given.time_budget, "--time-budget")
        file = Path(given.competition)
        lines = plan(data, project, given.plan, config=file if file.is_file() else None, budget=budget)
        print("\n".join(lines))
        return {"lines": lines, "files": [given.plan]}
    if given.labels:
        from skyfold.pipeline.label_audit import audit_labels

        labels = audit_labels(data, given.labels, project)
        print("\n".join(labels.lines()))
        return {"labels": labels.told(), "files": [labels.table, labels.page]}
    from skyfold.pipeline.audit import audit

    found = audit(data, project)
    print("\n".join([*found.lines(), f"copies: {found.table}"]))
    return {"findings": found.told(), "files": [found.table]}


def train(given: Namespace) -> JsonDict:
    """Train the folds and seeds of a run, write out-of-fold and test predictions.

    Resumes after any stop. Folds that are trained are kept, unless --restart is given. With --full one more network per
    seed is then fitted on all samples; it enters no score, no stored prediction and no blend.
    """
    from skyfold.config.files import load_run
    from skyfold.pipeline.train import train
    from skyfold.store.runs import read_info
    from skyfold.tasks import task_class

    project, config = workspace(given), load_run(given.config, given.overrides)
    result = train(config, project, only_folds=given.fold, restart=given.restart, full=given.full)
    seen = f" at {config.image.size[0]}x{config.image.size[1]}" if config.image else ", mean absolute error"
    for fold, score in result.scores.items():
        print(f"fold {fold}: validation score {score:.4f}{seen}")
    if result.complete:
        for line in task_class(config.task).report_run(config, project):
            print(line)
    for fit in result.full:
        epochs = f"{fit.epochs} epoch{'s' * (fit.epochs != 1)}"
        print(f"{fit.name}: all samples, {epochs}; expected validation score {fit.score:.4f}, the mean of the folds")
    print(f"{'trained' if result.complete else 'so far'}: {result.folder}")
    record = result.folder / "run.json"
    return {
        "run": config.name,
        "complete": result.complete,
        "scores": read_info(result.folder).scores,
        "files": [record, *(fit.weights for fit in result.full)],
    }


def import_(given: Namespace) -> JsonDict:
    """Import predictions of another framework as a run, to be blended and scored like one that was trained.

    Arrays (.npy, .npz), of masks also a folder of images or a table, of a classifier a table of probabilities; in a
    blend the run is called {name: NAME, model: {family: imported}}.
    """
    from skyfold.pipeline.import_predictions import Foreign, import_predictions
    from skyfold.store.runs import read_info

    data, project = _data_config(str(given.config), given), workspace(given)
    foreign = Foreign(given.oof, given.test, given.ids, given.folds)
    folder, lines = import_predictions(given.name, data, foreign, project, task=given.task)
    print("\n".join([*lines, f"imported: {folder}"]))
    return {"run": given.name, "scores": read_info(folder).scores, "files": [folder / "run.json"]}


def tune(given: Namespace) -> None:
    """Search the hyper-parameters of a training run.

    Resumes after any stop; started twice on one study, it joins as one more worker.
    """
    from skyfold.errors import ConfigError
    from skyfold.tuning.tune import tune

    if given.trials < 1 or given.workers < 1:
        raise ConfigError("--trials and --workers: give at least 1.")
    location = {"--root": getattr(given, "root", None), "--data": given.data}
    where = [part for name, value in location.items() if value is not None for part in (name, str(value))]
    storage = ["--storage", given.storage] if given.storage else []
    changes = [part for override in given.overrides for part in ("--set", override)]
    folder = tune(
        given.config,
        workspace(given),
        trials=given.trials,
        storage=given.storage,
        overrides=given.overrides,
        workers=given.workers,
        worker_command=[
            *[sys.executable, "-m", "skyfold", "tune", str(given.config), "--trials", str(given.trials)],
            *[*storage, *where, *changes],
        ],
    )
    print(f"results: {folder} (best.yaml, trials.csv, history.png, importance.png)")
    if (folder / "best.yaml").is_file():
        print(f"Train the best config: {shlex.join(['skyfold', 'train', str(folder / 'best.yaml'), *where])}")


def blend(given: Namespace) -> JsonDict:
    """Blend trained runs and fit post-processing on their out-of-fold predictions.

    Prints the score in-sample and cross-fitted: every choice refitted without the fold that is scored.
    """
    from skyfold.config.files import load_blend
    from skyfold.tasks import task_class

    project, config = workspace(given), load_blend(given.config)
    task = task_class(config.task)
    result = task.blend(config, project)
    for line in task.blend_lines(result):
        print(line)
    record = project.run(config.data.folder, config.name) / "blend.json"
    print(f"written: {record}")
    told = {key: result[key] for key in ("metric", "scores", "weights", "selection")}
    return {"blend": config.name, **told, "files": [record]}


def submit(given: Namespace) -> JsonDict:
    """Write and validate the submissions of a blend, or that of the last forecast of a config of forecasts.

    Of a blend one without the classifier gate and one with it. `skyfold blend`, or `run` of forecasts, must have run on
    the config. With --message the last one is kept as submitted; nothing leaves this machine without --kaggle.
    """
    from skyfold.config.files import load_blend, load_config
    from skyfold.config.forecasts import ForecastConfig
    from skyfold.errors import ConfigError
    from skyfold.files import read_json

    project, config = workspace(given), load_config(given.config)
    if given.kaggle and not given.message:
        raise ConfigError("--kaggle: give --message TEXT, the description that Kaggle shows.")
    products: Callable[[], Path]
    if isinstance(config, ForecastConfig):
        from skyfold.pipeline.baselines import make_forecasts
        from skyfold.pipeline.forecasts import submit_forecast, write_forecast_products

        data = make_forecasts(config, project)
        kind, name, files = "forecast", config.name, [submit_forecast(config, data, project)]
        products = partial(write_forecast_products, config, data, project)
    else:
        from skyfold.pipeline.products import write_blend_products
        from skyfold.pipeline.submit import submit

        blended = load_blend(given.config)
        kind, name, files = "blend", blended.name, submit(blended, project)
        products = partial(write_blend_products, blended, project, polygons=given.polygons)
    for path in files:
        print(f"submission: {path}")
    if given.message:
        print("\n".join(_submitted(config.data, files[-1], given)))
    told = ("name", "stage", "metric", "scores", "rows", "sha256")
    written = [read_json(path.with_suffix(".json")) for path in files]
    submissions = [{key: one[key] for key in told if key in one} for one in written]
    if given.products or given.polygons:
        files.append(products())
        print(f"products: {files[-1]}")
    return {kind: name, "submissions": submissions, "files": files}


def _submitted(data: DataConfig, path: Path, given: Namespace) -> list[str]:
    """Note that the file at `path` is submitted to the contest, with --kaggle do it; lines for people."""
    from skyfold.competition import build
    from skyfold.errors import ConfigError
    from skyfold.pipeline.public_scores import listed, record_submitted, require_entry_left

    project = workspace(given)
    contest = build(data.competition, data.options, project.data(data.folder)).kaggle if given.kaggle else None
    if given.kaggle and contest is None:
        raise ConfigError(f"--kaggle: '{data.competition}' is no contest on Kaggle, or its name there is not known.")
    require_entry_left(data.folder, project, data.submissions_per_day)
    record_submitted(path, given.message, project, contest=contest)
    where = f" to {contest}" if contest else ""
    return [f"submitted{where}: {path}", *listed(data.folder, project, data.submissions_per_day)]


def pack(given: Namespace) -> JsonDict:
    """Pack a trained blend, a run by itself or a forecast into one folder or zip file that predicts anywhere.

    `skyfold run`, or train and blend, must have run on the config. Of a config of forecasts the last one is packed.
    Where members or folds are left out, prints what that costs in cross-validated score.
    """
    from skyfold.competition import build
    from skyfold.config.files import load_packable
    from skyfold.pipeline.bundle_choice import Choice, seconds_of
    from skyfold.pipeline.pack import pack

    seconds = None if given.time_limit is None else seconds_of(given.time_limit)
    choice = Choice(given.members, given.folds, given.full, seconds, given.images)
    config = load_packable(given.config)
    path = pack(config, workspace(given), given.out, choice=choice, licence=given.licence, kernel=given.kernel)
    options = build(config.data.competition, config.data.options).given
    print(f"written: {path}")
    print(f"Try it: skyfold predict {shlex.quote(str(path))} {options} --out PREDICTIONS")
    return {"bundle": config.name, "files": [path]}


def predict(given: Namespace) -> JsonDict:
    """Predict images, or the frames that follow the newest ones, with a bundle: without training data, without network.

    Needs no project folder, and writes below --out only. The same command resumes after any stop.
    """
    if "numba" not in sys.modules:  # libraries that keep files of their own read these when they are imported
        for variable in ("KERAS_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
            os.environ.setdefault(variable, str((given.out / ".work" / variable.lower()).resolve()))
    from skyfold.pipeline.predict_bundle import predict_bundle

    files = predict_bundle(
        given.bundle,
        given.out,
        images=given.images,
        frames=given.frames,
        data=given.data,
        sample=given.sample_table,
        outputs=tuple(dict.fromkeys(given.outputs)),
        skip_damaged=given.on_error == "skip",
        code=given.plugins,
        precision=given.precision,
    )
    for path in files:
        print(f"written: {path}")
    return {"files": files}


def score(given: Namespace) -> JsonDict:
    """Score a submission file against a truth file with the competition's metric.

    Needs no project folder. Prints the score, its 95 % bootstrap interval over samples, and the score of each class.
    """
    from skyfold.competition import build
    from skyfold.errors import DataLayoutError
    from skyfold.metrics.score_submission import score_note, score_submission
    from skyfold.pipeline.outdated import outdated_submission
    from skyfold.workspace import Workspace

    data = _data_config(given.competition, given)
    if given.sizes is not None:
        data = data.model_copy(update={"options": {**data.options, "sizes": str(given.sizes.resolve())}})
    project = Workspace((named_root(given) or Path.cwd()).resolve(), given.data, verify=given.verify)
    folder = project.data(data.folder)
    if given.data is not None and not folder.is_dir():
        raise DataLayoutError(f"{folder}: no such folder, named by --data.")
    competition = build(data.competition, data.options, folder if folder.is_dir() else None)
    scored = score_submission(competition, given.submission, given.truth)
    many = "sample" if scored.samples == 1 else "samples"
    print(f"{competition.metric.name}: {scored.score:.6f} ({scored.samples} {many})")
    if note := score_note(scored.score):
        print(note)
    if why := outdated_submission(given.submission, project):
        print(f"outdated: {why}")
    if scored.samples > 1:
        print(f"95 % interval over {many}: {scored.interval.low:.6f} to {scored.interval.high:.6f}")
    for name, value in scored.per_class.items():
        print(f"  {name}: {value:.6f}")
    figures = {"score": scored.score, "low": scored.interval.low, "high": scored.interval.high}
    told = {"metric": competition.metric.name, **figures, "per_class": scored.per_class, "samples": scored.samples}
    return {"files": [given.submission, given.truth], **told, "outdated": why}


def new(given: Namespace) -> None:
    """Begin a competition of one's own: a commented file, and a config that runs on made-up data at once."""
    from skyfold.pipeline.new_competition import new_competition

    paths = new_competition(given.name, workspace(given))
    print("\n".join(f"written: {path}" for path in paths))
    print(f"Try it: skyfold run {paths[1]}")


def check(given: Namespace) -> None:
    """Try on a competition's files what skyfold relies on: ids, arrays, metric, submission.

    Nothing is written. The folder of the files is that of --data, or of the data set.
    """
    from skyfold.pipeline.check_competition import check_competition

    data, project = _data_config(given.name, given), workspace(given)
    print("\n".join(check_competition(data, project.data(data.folder))))
    print(f"competition '{data.competition}' keeps the contract")


def leaderboard(given: Namespace) -> JsonDict:
    """Show every run, blend and forecast of a data set with its scores, best first; or a table of models.

    With --diff, show what differs between two of them instead: config, data, folds, and the paired difference.
    """
    from skyfold.config.experiment import TableConfig
    from skyfold.config.files import load_config
    from skyfold.files import write_csv
    from skyfold.pipeline import experiment_table
    from skyfold.pipeline.compare import compare
    from skyfold.pipeline.leaderboard import leaderboard
    from skyfold.reports.leaderboard import as_text

    project, name = workspace(given), given.competition
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} and isinstance(config := load_config(path), TableConfig):
        table = experiment_table.experiment_table(config, path, project)
        print(experiment_table.as_text(table))
        return asdict(table)
    name = _data_name(name, given)
    if given.diff:
        named = [Path(run) if (Path(run) / "run.json").is_file() else project.run(name, run) for run in given.diff]
        lines = compare(*named)
        print("\n".join(lines))
        return {"compared": named, "lines": lines}
    at_hand: dict[str, Dataset | None] = {}
    entries, files = leaderboard(name, project, at_hand), []
    print(as_text(entries))
    if given.html:
        from skyfold.pipeline.site.write import write_site

        how = {"images": not given.no_images, "public_fraction": given.public_fraction, "at_hand": at_hand}
        if name != given.competition:  # a config, which names the files
            how["data"] = _data_config(given.competition, given).model_dump(mode="json")
        files.append(write_site(name, project, entries, given.html, **how))
    told = [
        {"name": entry.name, "kind": entry.kind, **entry.figures, **({"remark": entry.remark} if entry.remark else {})}
        for entry in entries
    ]
    if given.csv:
        columns = list(dict.fromkeys(key for one in told for key in one))
        write_csv(given.csv, [columns, *([one.get(key) for key in columns] for one in told)])
        files.append(given.csv)
    for file in files:
        print(f"written: {file}")
    picks = []
    if given.final is not None:
        from skyfold.pipeline.public_scores import public_scores
        from skyfold.pipeline.shakeup import final_picks

        public = public_scores(name, project)
        picks = final_picks(name, project, given.final, public, public_fraction=given.public_fraction)
        print("\n".join(["", *picks]))
    return {"data": name, "entries": told, "files": files, **({"final": picks} if picks else {})}


def status(given: Namespace) -> JsonDict:
    """Show what is done, what runs and what is left: runs, blends, forecasts and studies of a data set, or of all.

    Epochs are those of the last checkpoint; the time left is an estimate of the training, without predicting.
    """
    from skyfold.pipeline.status import as_text, status

    found = status(None if given.data_set is None else _data_name(given.data_set, given), workspace(given))
    print(as_text(found))
    return {"entries": [one.told() for one in found]}


def lb(given: Namespace) -> JsonDict:
    """Keep what was submitted to a contest, with its public and private scores.

    add: note the score of a submission. list: what was submitted, beside cross-validation. import: the table of
    `kaggle competitions submissions -c CONTEST --csv`.
    """
    from skyfold.errors import ConfigError
    from skyfold.pipeline import public_scores

    project = workspace(given)
    if (given.table is None) == (given.action == "import"):
        raise ConfigError("lb import NAME FILE: give the table; the other actions take none.")
    if given.action == "add":
        if given.public is None and given.private is None:
            raise ConfigError("lb add: give the score, --public SCORE, --private SCORE or both.")
        scores = {"public": given.public, "private": given.private}
        name = public_scores.add_score(given.of, project, **scores, date=given.date, message=given.message or "")[0]
        per_day = None
    else:
        name = _data_name(given.of, given)
        per_day = None if name == given.of else _data_config(given.of, given).submissions_per_day
        if given.action == "import":
            public_scores.import_kaggle(name, given.table, project)
    print("\n".join(public_scores.listed(name, project, per_day)))
    return {"data": name, "submitted": public_scores.told(public_scores.compared(name, project))}


def shakeup(given: Namespace) -> JsonDict:
    """Simulate public and private leaderboards from out-of-fold scores: how far ranks move, and what to choose by."""
    from skyfold.errors import ConfigError
    from skyfold.pipeline.shakeup import shakeup

    if given.simulations < 1 or (given.test_samples is not None and given.test_samples < 2):
        raise ConfigError("--simulations: give at least 1; --test-samples: at least 2.")
    found = shakeup(
        _data_name(given.competition, given),
        workspace(given),
        public_fraction=given.public_fraction,
        test_rows=given.test_samples,
        simulations=given.simulations,
    )
    print("\n".join(found.lines()))
    return {
        "public_samples": found.public_rows,
        "private_samples": found.private_rows,
        "ranks": {name: {"public": public, "private": private} for name, (public, private) in found.ranks.items()},
        "choices": {name: asdict(choice) for name, choice in found.choices.items()},
        "left_out": found.scored.left_out,
    }


def plot(given: Namespace) -> None:
    """Draw what a run, blend or forecast predicts out of fold, beside the ground truth.

    Masks with their errors and scores; forecasts as maps and animations, with a reliability diagram and the error by
    lead time. `skyfold run` must have run on the config. The figures are written to `pictures/` in the folder of the
    run, blend or forecast.
    """
    from skyfold.config.files import load_pictured
    from skyfold.config.forecasts import ForecastConfig
    from skyfold.errors import ConfigError
    from skyfold.store.locks import held

    project, config = workspace(given), load_pictured(given.config)
    if given.worst is not None and given.worst < 1:
        raise ConfigError("--worst: give at least 1.")
    if isinstance(config, ForecastConfig):
        from skyfold.pipeline.plot import draw_pictures

        if given.label is not None:
            raise ConfigError("--class: forecasts have lead times, no classes. Leave it out.")
        names = [model.name for model in config.forecasts]
        draw = partial(draw_pictures, config, project, given.forecast, given.ids, given.worst)
    else:
        from skyfold.pipeline.mask_pictures import draw_mask_pictures

        if given.forecast is not None:
            raise ConfigError(f"--forecast: {given.config} is no config of forecasts. Leave it out.")
        names = [config.name, *(run.name for run in getattr(config, "members", ()))]
        draw = partial(draw_mask_pictures, config, project, ids=given.ids, worst=given.worst, label=given.label)
    with held(reads=[project.run(config.data.folder, name) for name in names]):
        for path in draw():
            print(f"written: {path}")


def run(given: Namespace) -> None:
    """Run every stage of a config in order: prepare, train, blend, submit, score, leaderboard.

    Stages that are finished are skipped. With --jobs N, N runs are trained at a time, each in its share of the cores.
    """
    from skyfold.errors import ConfigError
    from skyfold.pipeline.run import run_job

    if given.jobs < 1:
        raise ConfigError("--jobs: give at least 1.")
    run_job(given.config, workspace(given), overrides=tuple(given.overrides), jobs=given.jobs)


def workspace(given: Namespace) -> Workspace:
    """The project that a command works in: `--root`, or the folder found from the current one.

    ConfigError where there is no such folder.
    """
    from skyfold import workspace

    root = workspace.project_root(getattr(given, "root", None))
    return workspace.Workspace(root, getattr(given, "data", None), verify=getattr(given, "verify", False))


def named_root(given: Namespace) -> Path | None:
    """`--root`, or the project's folder found from the current one; None where there is none."""
    from skyfold.workspace import find_root

    root: Path | None = getattr(given, "root", None)
    return root or find_root(Path.cwd())


def _data_name(text: str, given: Namespace) -> str:
    """The name of the data set that a command names by itself, or by a competition or config."""
    return text if workspace(given).oof(text).is_dir() else _data_config(text, given).folder


def _data_config(text: str, given: Namespace) -> DataConfig:
    """The data set that a command names, see `load_data`."""
    from skyfold.config.files import load_data

    return load_data(text, named_root(given))
