"""Whatever a careless user does, a score or submission is that of the files that lie there, or a command says so."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from faults.careless import CHOICES, CONFIGS, FRESH, IDS, RUNS, Careless, image, mask
from faults.planted import PLANTS
from skyfold.config.merging import set_key

SAMPLES = st.sampled_from(range(len(IDS) + 2))
VARIANTS = st.integers(0, 2)
STOPS = st.one_of(st.just(0), st.integers(1, 12))
COMMANDS = st.sampled_from([("train", "bright"), ("train", "dark"), ("blend", "blend"), ("submit", "blend")])
KILL = False  # by a signal, in a process of its own; and two commands at once
# A folder with the project made whole, and one for what is run afresh; deleted when this process ends.
_made: list[tempfile.TemporaryDirectory] = []


def folders() -> Path:
    if not _made:
        made = tempfile.TemporaryDirectory(prefix="careless-")
        project = Careless(Path(made.name) / "made", Path(made.name) / "fresh")
        project.begin()
        project.make()
        _made.append(made)
    return Path(_made[0].name)


class CarelessUser(RuleBasedStateMachine):
    """Commands and changes in any order, compared with a fresh folder after each command."""

    @initialize(made=st.booleans())
    def begin(self, made: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="project-"))
        self.user = Careless(self.folder / "project", folders() / "fresh")
        if made:
            shutil.copytree(folders() / "made", self.user.root)
        else:
            self.user.begin()

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @rule()
    def prepare(self) -> None:
        self.user.do("prepare", "bright")

    @rule(run=st.sampled_from(RUNS), stop=STOPS, again=st.booleans())
    def train(self, run: str, stop: int, again: bool) -> None:
        self.user.do("train", run, *(["--restart"] if again else []), stop=stop, kill=KILL)

    @rule(stop=STOPS)
    def blend(self, stop: int) -> None:
        self.user.do("blend", "blend", stop=stop, kill=KILL)

    @rule(stop=STOPS)
    def submit(self, stop: int) -> None:
        self.user.do("submit", "blend", stop=stop, kill=KILL)

    @precondition(lambda self: KILL)
    @rule(one=COMMANDS, other=COMMANDS)
    def two_at_once(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        self.user.do_both(one, other)

    @rule()
    def make_all(self) -> None:
        """Every stage from the first, as one does after a message; each may be refused."""
        for command, name in [("prepare", "bright"), ("train", "bright"), ("train", "dark"), ("blend", "blend")]:
            self.user.do(command, name)
        self.user.do("submit", "blend")

    @precondition(lambda self: (self.user.submissions / "blend.csv").is_file())
    @rule()
    def score(self) -> None:
        submission, truth = self.user.submissions / "blend.csv", self.user.root / "data" / "truth"
        self.user.do("score", "blend", str(submission), "--truth", str(truth))

    @rule()
    def leaderboard(self) -> None:
        self.user.do("leaderboard", "blend")

    @rule(sample=SAMPLES, variant=VARIANTS, keep_times=st.booleans())
    def edit_image(self, sample: int, variant: int, keep_times: bool) -> None:
        name = self._id(sample)
        self.user.edit_png("images", name, image(variant, sample), keep_times=keep_times)

    @rule(sample=SAMPLES, variant=VARIANTS, keep_times=st.booleans())
    def edit_mask(self, sample: int, variant: int, keep_times: bool) -> None:
        name = self._id(sample)
        self.user.edit_png("masks", name, mask(variant, sample), keep_times=keep_times)

    @rule(sample=st.sampled_from([100, 101, 102]), variant=VARIANTS, keep_times=st.booleans())
    def edit_test_image(self, sample: int, variant: int, keep_times: bool) -> None:
        """Of a new number, it is added."""
        self.user.edit_png("test_images", f"t{sample}", image(variant, sample), keep_times=keep_times)

    @rule(sample=SAMPLES, also_mask=st.booleans())
    def remove_image(self, sample: int, also_mask: bool) -> None:
        name = self._id(sample)
        for part in ("images", "masks")[: 1 + also_mask]:
            (self.user.data / part / f"{name}.png").unlink(missing_ok=True)

    @rule(sample=SAMPLES, grouped=st.booleans())
    def add_sample(self, sample: int, grouped: bool) -> None:
        name = IDS[sample] if sample < len(IDS) else f"new{sample}"
        self.user.edit_png("images", name, image(0, sample), keep_times=False)
        self.user.edit_png("masks", name, mask(0, sample), keep_times=False)
        if grouped:
            self.user.write_groups({**self.user.read_groups(), name: "9"})

    @rule(part=st.sampled_from(["images", "masks"]), source=SAMPLES, over=SAMPLES)
    def copy_over(self, part: str, source: int, over: int) -> None:
        paths = [self.user.data / part / f"{self._id(i)}.png" for i in (source, over)]
        if paths[0].is_file() and paths[0] != paths[1]:
            shutil.copy2(*paths)

    @rule(part=st.sampled_from(["images", "masks", "test_images"]), place=st.integers(0, 7))
    def touch(self, part: str, place: int) -> None:
        files = sorted((self.user.data / part).iterdir())
        if files:
            os.utime(files[place % len(files)])

    @rule(sample=SAMPLES, group=st.sampled_from(["0", "1", "8", ""]))
    def change_group(self, sample: int, group: str) -> None:
        self.user.write_groups({**self.user.read_groups(), self._id(sample): group})

    @rule(change=st.sampled_from(sorted(CHOICES)), choice=st.integers(0, 2))
    def change_config(self, change: tuple[str, str], choice: int) -> None:
        which, key = change
        value = CHOICES[change][choice % len(CHOICES[change])]
        for name in CONFIGS if which == "all" else [which]:
            self.user.write_config(name, set_key(self.user.read_config(name), key, value, where=""))

    @rule(place=st.integers(0, 200), how=st.sampled_from(["remove", "flip", "number", "swap", "older", "touch"]))
    def change_record(self, place: int, how: str) -> None:
        files = self.user.records()
        if not files:
            return
        path = files[place % len(files)]
        if how == "remove":
            path.unlink()
        elif how == "touch":
            os.utime(path)
        elif how == "flip" and (data := bytearray(path.read_bytes())):
            data[-(1 + place) % len(data)] ^= 1 << place % 8
            path.write_bytes(bytes(data))
        elif how == "number" and path.suffix == ".json":
            with contextlib.suppress(ValueError):  # damaged before
                path.write_text(json.dumps(_other_number(json.loads(path.read_text()), place)))
        elif how == "swap":
            parts = path.relative_to(self.user.root).parts
            other = {"bright": "dark", "dark": "bright", "blend": "bright"}
            twin = self.user.root.joinpath(*[other.get(part, part) for part in parts])
            if twin.is_file() and twin != path:
                shutil.copy(twin, path)
        elif how == "older" and (old := folders() / "made" / path.relative_to(self.user.root)).is_file():
            shutil.copy(old, path)

    @rule(source=st.sampled_from(RUNS), over=st.sampled_from([*RUNS, "blend"]))
    def copy_run(self, source: str, over: str) -> None:
        if source != over and (self.user.oof / source).is_dir():
            shutil.rmtree(self.user.oof / over, ignore_errors=True)
            shutil.copytree(self.user.oof / source, self.user.oof / over)

    def _id(self, sample: int) -> str:
        ids = self.user.ids()
        return ids[sample % len(ids)] if ids else IDS[0]


def _other_number(tree, place: int):
    """One number, of those that are there, is 1 higher, or one text has a letter more."""
    leaves = []

    def walk(node) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            if isinstance(node[key], dict | list):
                walk(node[key])
            elif isinstance(node[key], int | float | str) and not isinstance(node[key], bool):
                leaves.append((node, key))

    if isinstance(tree, dict | list):
        walk(tree)
    if leaves:
        holder, key = leaves[place % len(leaves)]
        holder[key] = holder[key] + ("x" if isinstance(holder[key], str) else 1)
    return tree


SEQUENCES = int(os.environ.get("SEQUENCES", 500))  # of the runs by hand
COMMON: dict = {
    **{"stateful_step_count": 15, "deadline": None, "suppress_health_check": list(HealthCheck), "database": None},
    "phases": [Phase.generate],  # to shrink a sequence that fails takes longer than to read it
}


@pytest.fixture(autouse=True)
def own_data_only(monkeypatch):
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)


def test_no_score_or_submission_is_wrong_silently():
    run_state_machine_as_test(CarelessUser, settings=settings(max_examples=25, derandomize=True, **COMMON))


@pytest.mark.by_hand
def test_no_score_or_submission_is_wrong_silently_in_five_hundred_sequences(monkeypatch):
    monkeypatch.setattr(f"{__name__}.KILL", True)
    run_state_machine_as_test(CarelessUser, settings=settings(max_examples=SEQUENCES, **COMMON))


@pytest.mark.by_hand
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(monkeypatch, plant):
    """Proves that the tests above can fail."""
    monkeypatch.setattr(f"{__name__}.KILL", True)
    _made.clear()
    FRESH.clear()
    plant(monkeypatch)
    once = settings(max_examples=SEQUENCES, derandomize=True, **COMMON)
    with pytest.raises(AssertionError, match="afresh"):
        run_state_machine_as_test(CarelessUser, settings=once)
