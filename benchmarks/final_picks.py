"""Final picks on samples of several seeds, beside the two best by cross-validation and the two best by public score.

    python benchmarks/sample_order.py --work DIR         trains on the samples; a folder of each seed stays in DIR
    python benchmarks/final_picks.py --work DIR

Entries are the runs of the demo and blends of them. Their submissions are scored on the truth that was kept aside,
which is split at random into a public and a private part. Three ways to pick two entries are compared by the better
private score of the two, paired over all splits; the interval draws seeds and their splits anew. Figures go to
benchmarks/results/clouds_demo/final_picks.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from figures import RESULTS
from sample_order import CONFIG, environment, seed_folder, settings

from skyfold.competition import build
from skyfold.config.files import load_blend
from skyfold.files import write_json, write_text
from skyfold.metrics.score_submission import prediction_stats
from skyfold.metrics.shakeup import expected_best, private_given_public
from skyfold.pipeline.shakeup import Scored, possible_scores, scored_alike
from skyfold.types import Metric
from skyfold.workspace import Workspace

SPLITS = 200
PUBLIC_FRACTION = 0.3
DRAWS = 5000
ENTRIES: dict[str, dict[str, Any]] = {  # what differs from the demo
    "unet": {"runs": slice(0, 1), "classifier_gate": None},
    "fpn": {"runs": slice(1, 2), "classifier_gate": None},
    "mean": {"classifier_gate": None},
    "mean_greedy": {"classifier_gate": None, "weights": {"search": "greedy"}},
    "mean_triplet": {"classifier_gate": None, "postprocess": {"rule": "triplet", "min_areas": [0, 50, 200, 800]}},
    "stack": {"classifier_gate": None, "combine": "stack"},
    "mean_gate": {},
    "stack_gate": {"combine": "stack"},
    "mean_classifier": {"postprocess": {"gate_input": "classifier"}},
}


def entry_config(name: str, seed: int) -> str:
    """The demo's config with what the entry changes, as YAML."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["data"]["sample"] |= settings(seed)
    config["name"] = name
    for key, value in ENTRIES[name].items():
        if key == "runs":
            config["runs"] = config["runs"][value]
        elif key == "postprocess":
            config[key] = {**config[key], **value}
        else:
            config[key] = value
    return str(yaml.safe_dump(config, sort_keys=False))


def entries(work: Path, seed: int) -> tuple[Metric, np.ndarray]:
    """Blend and submit what is not there yet; the metric of the contest, and its statistics on the test truth, float64
    (E, images, S), in the order of `ENTRIES`."""
    folder, tables = seed_folder(work, seed), []
    workspace = Workspace(folder)
    for name in ENTRIES:
        path = folder / "configs" / f"{name}.yaml"
        write_text(path, entry_config(name, seed))
        config = load_blend(path)
        submission = workspace.submissions(config.data.folder) / f"{name}.csv"
        for command in () if submission.is_file() else ("blend", "submit"):
            line = [sys.executable, "-m", "skyfold", command, str(path), "--root", str(folder)]
            subprocess.run(line, cwd=folder, env=environment(), check=True)
        data = workspace.data(config.data.folder)
        competition = build(config.data.competition, config.data.options, data)
        truth = competition.read_truth(data / "test_truth.csv")
        tables.append(prediction_stats(competition, truth, competition.read_pred(submission, truth.ids)))
    return competition.metric, np.stack(tables)


def private_scores(work: Path, seed: int) -> dict[str, np.ndarray]:
    """Better private score of the two picks in each split, by way to pick them, and of the best entry."""
    of_contest, tables = entries(work, seed)
    scored = scored_alike("clouds_demo", Workspace(seed_folder(work, seed)))
    entered = Scored({name: scored.scores[name] for name in ENTRIES}, tables.shape[1], {})
    cv, images, simulated = np.array(entered.cv()), tables.shape[1], possible_scores(entered, PUBLIC_FRACTION)
    rng, found = np.random.default_rng(seed), {"final picks": [], "best by CV": [], "best by public": [], "best": []}
    for _ in range(SPLITS):
        order = rng.permutation(images)
        public, private = np.split(order, [round(PUBLIC_FRACTION * images)])
        seen, hidden = (np.array([of_contest.score(own[rows]) for own in tables]) for rows in (public, private))
        picks = expected_best(*private_given_public(simulated, seen), 2)[0]
        found["final picks"].append(hidden[list(picks)].max())
        found["best by CV"].append(hidden[np.argsort(-cv, kind="stable")[:2]].max())
        found["best by public"].append(hidden[np.argsort(-seen, kind="stable")[:2]].max())
        found["best"].append(hidden.max())
    return {name: np.array(own) for name, own in found.items()}


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Mean of ours - theirs, (seeds, splits) each, its interval, and the mean of each seed."""
    apart, rng = ours - theirs, np.random.default_rng(0)
    seeds, splits = apart.shape
    drawn = rng.integers(0, seeds, (DRAWS, seeds, 1)), rng.integers(0, splits, (DRAWS, seeds, splits))
    low, high = np.quantile(apart[drawn].mean(axis=(1, 2)), [0.025, 0.975])
    by_seed = apart.mean(axis=1).tolist()
    return {"value": float(apart.mean()), "low": float(low), "high": float(high), "by_seed": by_seed}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder of sample_order.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args(argv)
    by_seed = {seed: private_scores(given.work, seed) for seed in given.seeds}
    scores = {name: np.stack([own[name] for own in by_seed.values()]) for name in by_seed[given.seeds[0]]}
    ours = scores["final picks"]
    result = {
        "entries": list(ENTRIES),
        "splits": SPLITS,
        "public_fraction": PUBLIC_FRACTION,
        "scores": {name: own.mean(axis=1).tolist() for name, own in scores.items()},
        "differences": {name: difference(ours, own) for name, own in scores.items() if name != "final picks"},
    }
    write_json(RESULTS / "clouds_demo" / "final_picks.json", result)
    for name, found in result["differences"].items():
        print(f"final picks - two {name}: {found['value']:+.5f} ({found['low']:+.5f} to {found['high']:+.5f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
