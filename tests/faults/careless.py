"""A careless user's project, and the same inputs run in a fresh folder to compare with.

`Careless` runs commands in a small `mask_folder` project and changes what lies there, images, masks, groups, configs
and records. After each command that ends well and says nothing of it, what it scored, stored or wrote must be what a
fresh folder makes of the inputs that lie there now; folds.csv is one of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

from skyfold.cli.main import main
from skyfold.config.files import load_blend, load_run
from skyfold.errors import SkyfoldError
from skyfold.store.rows import RowStore
from skyfold.tasks.stored_blend import config_json

SIZE = (16, 24)
IDS = [f"s{i}" for i in range(8)]
RUNS = ("bright", "dark")
DATA = {
    "competition": "mask_folder",
    "name": "tiny",
    "options": {
        "classes": {"blob": 255},
        "test_images": "test_images",
        "group": {"file": "groups.csv", "id": "id", "column": "scene"},
    },
    "folds": {"k": 2, "phash_max_distance": 0},
}
CONFIGS = {
    "bright": {"name": "bright", "data": DATA, "image": {"size": list(SIZE)}, "model": None},
    "dark": {"name": "dark", "data": DATA, "image": {"size": list(SIZE)}, "model": None},
    "blend": {
        **{"name": "blend", "data": DATA, "runs": ["bright.yaml", "dark.yaml"], "bootstrap": 20},
        "postprocess": {"thresholds": 5, "min_areas": [0, 9]},
    },
}
FEATURES = ("brightness", "whiteness", "local_contrast")
for _name, _feature in zip(RUNS, FEATURES[::2], strict=True):
    CONFIGS[_name]["model"] = {"family": "colour_threshold", "options": {"feature": _feature}}
# Dotted keys of configs, and values that they may be given.
CHOICES: dict[tuple[str, str], tuple] = {
    **{(run, "model.options.feature"): FEATURES for run in RUNS},
    **{(run, "image.size"): ([16, 24], [8, 12]) for run in RUNS},
    ("blend", "weights"): (None, [0.25, 0.75], [0.5, 0.5]),
    ("blend", "postprocess.min_areas"): ([0], [0, 9]),
    ("all", "data.options.classes"): ({"blob": 255}, {"blob": 100}, {"blob": [100, 255]}),
    ("all", "data.options.background"): (0, [0, 100]),
    ("all", "data.options.ignore_value"): (None, 100),
    ("all", "data.folds.seed"): (0, 1),
    ("blend", "data.options.classes"): ({"blob": 255}, {"blob": [100, 255]}),
}
# Lines of commands that say nothing of what they found: progress, and what each prints when all is well.
PROGRESS = re.compile(r"^[^:]+: \d+/\d+ .*/s, .*$")
USUAL = re.compile(
    r"fold \d|out of fold:|trained:|so far:|blend, |gain over|written:|submission:|mean_dice:|95 % interval|  blob:"
    r"|samples per fold|\d+ images with masks|.*folds\.csv: (kept|\d+ folds)|name +kind"
    r"|(bright|dark|blend|all empty|best single at 0.5: .*|perfect classifier with these masks|-+) {2,}"
)


@dataclass(frozen=True)
class Ended:
    """What a command did: its exit code, and all it printed."""

    code: int
    text: str

    @property
    def said(self) -> list[str]:
        """Lines that are neither progress nor a command's usual ones."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return [line for line in lines if not (PROGRESS.match(line) or USUAL.match(line))]

    @property
    def silent(self) -> bool:
        return self.code == 0 and not self.said


def skyfold(root: Path, *arguments: object) -> Ended:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            code = main([*map(str, arguments), "--root", str(root)])
        except SystemExit as error:
            code = int(str(error.code))
    return Ended(code, text.getvalue())


def image(variant: int, seed: int) -> np.ndarray:
    """A blob on noise, uint8 (H, W, 3); each variant has another place and brightness."""
    rng = np.random.default_rng([seed, variant])
    return rng.integers(0, 150, (*SIZE, 3), dtype=np.uint8) + 80 * blob(variant, seed)[..., None].astype(np.uint8)


def mask(variant: int, seed: int) -> np.ndarray:
    """The blob, of code 255, beside a strip of code 100 in odd variants."""
    codes = 255 * blob(variant, seed).astype(np.uint8)
    codes[:, :2] = 100 if variant % 2 else 0
    return codes


def blob(variant: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, variant, 1])
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - rng.uniform(5, 11), columns - rng.uniform(6, 18)) < rng.uniform(3, 6)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Not compressed, so that all files of one kind have one size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    assert done
    path.write_bytes(data.tobytes())


class Killed(KeyboardInterrupt):
    """Ctrl-C at a chosen write."""


@contextlib.contextmanager
def stopped_at(number: int, stop: Callable[[], None]):  # type: ignore[no-untyped-def]
    """`stop` is called within the `number`-th write: before a file is moved into place, or with half of the rows."""
    replace, write = os.replace, RowStore.write
    left = number

    def is_it() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def move(source: object, target: object, **options: object) -> None:
        if is_it():
            stop()
        replace(source, target, **options)  # type: ignore[arg-type]

    def write_rows(self: RowStore, rows: np.ndarray, values: np.ndarray) -> None:
        if is_it():
            half = len(rows) // 2
            write(self, rows[:half], values[:half])
            self.values[rows[half]][...] = values[half] // 2  # written, but not marked as complete
            stop()
        write(self, rows, values)

    os.replace, RowStore.write = move, write_rows  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        os.replace, RowStore.write = replace, write  # type: ignore[method-assign]


class Fresh:
    """The same inputs in a folder of their own: what each command makes of them there, run once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ended: dict[str, Ended] = {}

    def run(self, command: str, name: str) -> Ended:
        key = f"{command} {name}"
        if key not in self._ended:
            for before in {"blend": ["train bright", "train dark"], "submit": ["blend blend"]}.get(command, []):
                self.run(*before.split())
            self._ended[key] = skyfold(self.root, command, self.root / "configs" / f"{name}.yaml")
        return self._ended[key]


class Careless:
    """The project in `root`; `fresh` is a folder for what is run afresh, shared by many projects."""

    def __init__(self, root: Path, fresh: Path) -> None:
        self.root, self._fresh = root, fresh

    @property
    def data(self) -> Path:
        return self.root / "data" / "tiny"

    @property
    def oof(self) -> Path:
        return self.root / "oof" / "tiny"

    @property
    def submissions(self) -> Path:
        return self.root / "submissions" / "tiny"

    def config(self, name: str) -> Path:
        return self.root / "configs" / f"{name}.yaml"

    def begin(self) -> None:
        for name, values in CONFIGS.items():
            self.write_config(name, values)
        for seed, name in enumerate(IDS):
            write_png(self.data / "images" / f"{name}.png", image(0, seed))
            write_png(self.data / "masks" / f"{name}.png", mask(0, seed))
        for seed in (100, 101):
            write_png(self.data / "test_images" / f"t{seed}.png", image(0, seed))
            write_png(self.root / "data" / "truth" / f"t{seed}.png", mask(0, seed))
        self.write_groups({name: str(i // 2) for i, name in enumerate(IDS)})

    def make(self) -> None:
        for command, name in [("prepare", "bright"), ("train", "bright"), ("train", "dark"), ("blend", "blend")]:
            ended = skyfold(self.root, command, self.config(name))
            assert ended.code == 0, ended.text
        ended = skyfold(self.root, "submit", self.config("blend"))
        assert ended.code == 0, ended.text

    def write_config(self, name: str, values: dict) -> None:
        self.config(name).parent.mkdir(parents=True, exist_ok=True)
        self.config(name).write_text(yaml.safe_dump(values, sort_keys=False))

    def read_config(self, name: str) -> dict:
        return yaml.safe_load(self.config(name).read_text())

    def write_groups(self, groups: dict[str, str]) -> None:
        lines = "".join(f"{name},{group}\n" for name, group in groups.items())
        (self.data / "groups.csv").write_text(f"id,scene\n{lines}")

    def read_groups(self) -> dict[str, str]:
        lines = (self.data / "groups.csv").read_text().splitlines()[1:]
        return dict(line.split(",") for line in lines)

    # Commands

    def do(self, command: str, *arguments: str, stop: int = 0, kill: bool = False) -> Ended:
        """Run a command, stopped at its `stop`-th write where that is not 0, and compare what it made."""
        place = [str(self.config(one)) if one in CONFIGS else one for one in arguments]
        if not stop:
            ended = skyfold(self.root, command, *place)
        elif kill:
            ended = self._in_child(command, place, stop)
        else:
            with stopped_at(stop, _interrupt):
                ended = skyfold(self.root, command, *place)
        assert ended.code != 1, f"{command} ended as if by a bug:\n{ended.text}"
        if ended.silent:
            self.compare(command, arguments[0], ended)
        return ended

    def do_both(self, *commands: tuple[str, str]) -> None:
        """Two commands at once, in processes of their own; one may be refused."""
        children = [
            _begin_child(lambda one=one: skyfold(self.root, one[0], self.config(one[1])).code) for one in commands
        ]
        codes = [_end_of(child) for child in children]
        assert 1 not in codes, f"{commands} at once ended by {codes}, as if by a bug"

    def _in_child(self, command: str, place: list[str], stop: int) -> Ended:
        def run() -> int:
            with stopped_at(stop, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                return skyfold(self.root, command, *place).code

        code = _end_of(_begin_child(run))
        return Ended(code, f"ended by {code} in a process of its own\n")  # said, so that it is not compared

    def fresh(self) -> Fresh:
        """What lies here now, without results, in a folder that projects with the same inputs share."""
        digest = self.inputs_digest()
        root = self._fresh / digest
        if digest not in FRESH:
            for part in ("data", "configs"):
                shutil.copytree(self.root / part, root / part, ignore=shutil.ignore_patterns(".cache"))
            (root / "oof" / "tiny").mkdir(parents=True)
            for name in ("folds.csv", "folds.json"):
                if (self.oof / name).is_file():
                    shutil.copy(self.oof / name, root / "oof" / "tiny" / name)
            FRESH[digest] = Fresh(root)
        return FRESH[digest]

    def inputs_digest(self) -> str:
        files = [path for part in ("data", "configs") for path in sorted((self.root / part).rglob("*"))]
        files += [self.oof / "folds.csv", self.oof / "folds.json"]
        sha = hashlib.sha256()
        for path in files:
            if path.is_file() and ".cache" not in path.parts:
                sha.update(f"{path.relative_to(self.root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return sha.hexdigest()[:24]

    def compare(self, command: str, name: str, ended: Ended) -> None:
        """AssertionError where a command that said nothing made something else than it makes in a fresh folder."""
        if command in ("prepare", "score"):  # a score is that of the file that it is given
            return
        fresh = self.fresh()
        if command == "leaderboard":
            rows = entries(ended.text)
            for run in ("bright", "dark", "blend"):
                if run in rows and self.has_its_config(run):
                    afresh = fresh.run("blend" if run == "blend" else "train", run)
                    assert afresh.code == 0, f"the leaderboard shows {run}, afresh it is refused:\n{afresh.text}"
                    theirs = entries(skyfold(fresh.root, "leaderboard", fresh.root / "configs" / "blend.yaml").text)
                    assert rows[run] == theirs[run], f"leaderboard: {run} has {rows[run]}, afresh {theirs[run]}"
            return
        afresh = fresh.run(command, name)
        assert afresh.code == 0, f"{command} {name} said nothing, afresh it is refused:\n{afresh.text}\n{ended.text}"
        mine, theirs = made(self.root, command, name), made(fresh.root, command, name)
        for what, value in mine.items():
            assert value == theirs[what], f"{command} {name}: {what}: {value}, afresh {theirs[what]}\n{ended.text}"

    def has_its_config(self, run: str) -> bool:
        """Whether what is stored of a run or blend, and of its members, was made with the configs that lie here now:
        the leaderboard shows results of other configs, too."""
        record = self.oof / run / ("blend.json" if run == "blend" else "run.json")
        try:
            stored = json.loads(record.read_text())["config"]
            now = config_json(load_blend(self.config(run))) if run == "blend" else load_run(self.config(run)).stored()
        except (SkyfoldError, OSError, ValueError, KeyError):
            return False
        return json.loads(json.dumps(now)) == stored and (run != "blend" or all(map(self.has_its_config, RUNS)))

    # Changes

    def edit_png(self, folder: str, name: str, pixels: np.ndarray, *, keep_times: bool) -> None:
        path = self.data / folder / f"{name}.png"
        before = path.stat() if path.is_file() else None
        write_png(path, pixels)
        if keep_times and before is not None:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def ids(self) -> list[str]:
        return sorted(path.stem for path in (self.data / "images").glob("*.png"))

    def records(self) -> list[Path]:
        """Every file that commands made, the cache apart."""
        found = [*self.oof.rglob("*"), *self.submissions.rglob("*")]
        return sorted(path for path in found if path.is_file())


def _begin_child(run: Callable[[], int]) -> int:
    child = os.fork()
    if not child:
        try:
            os._exit(run())
        except BaseException:
            os._exit(1)
    return child


def _end_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _interrupt() -> None:
    raise Killed


FRESH: dict[str, Fresh] = {}


def made(root: Path, command: str, name: str) -> dict[str, object]:
    """What a command made: digests of rows, scores, bytes of a submission."""
    if command == "submit":
        return {"blend.csv": (root / "submissions/tiny/blend.csv").read_text()}
    folder = root / "oof" / "tiny" / name
    found: dict[str, object] = {}
    for part in ("oof", "test"):
        rows = RowStore.open(folder / part)
        rows.checked[:]
        found[f"{part} rows"] = {
            one: hashlib.sha256(rows[i].tobytes()).hexdigest()[:8] for i, one in enumerate(rows.ids.tolist())
        }
    found["scores"] = json.loads((folder / "run.json").read_text())["scores"]
    if command == "blend":
        record = json.loads((folder / "blend.json").read_text())
        found |= {"weights": record["weights"], "selection": record["selection"], "scores": record["scores"]}
    return found


def entries(text: str) -> dict[str, list[str]]:
    """Scores of the leaderboard's entries of which nothing is said, by name."""
    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    return {row[0]: re.findall(r"-?\d\.\d{4}", " ".join(row[2:])) for row in rows if row[1:2] in (["run"], ["blend"])}
