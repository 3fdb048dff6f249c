"""Data that grow by new years or events: what was fitted and predicted stays, and the new samples are added."""

import shutil

import numpy as np
import pytest
import yaml

from skyfold.cli.main import main
from skyfold.errors import UnfitFolds
from skyfold.store.folds import Folds, folds_of_years, grow_by_groups, grow_in_time, read_folds, write_folds
from skyfold.store.rows import RowStore

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")
ICE = yaml.safe_load("""
data:
  competition: arctic_sea_ice
  name: ice
  options: {grid: [16, 12]}
  folds: {years: [2001, 2002]}
  sample: {years: 9, seed: 0}
name: table
eval_years: [2002, 2002]
forecasts:
  - {name: climatology, family: mean_of_years}
  - name: network
    run:
      task: forecasting
      frame_adapter: {name: anomalies}
      model: {family: tiny_net}
      loss: {name: mae}
      training: {epochs: 1, batch_size: 4, checkpoint: last}
  - {name: blend, family: weighted_blend, options: {event: ice, blocks: [2, 1]}, members: [climatology, network]}
""")
RAIN = yaml.safe_load("""
data:
  competition: hydro_rain
  name: rain
  folds: {k: 2}
  sample: {train: 12, test: 2, train_events: 6, test_events: 1}
name: table
forecasts:
  - {name: dis, family: rain_extrapolation}
  - name: network
    run:
      task: forecasting
      frame_adapter: {name: frames}
      model: {family: rain_unet, options: {filters: [2, 4]}}
      loss: {name: mae}
      training: {epochs: 1, batch_size: 4, checkpoint: last}
""")


class Project:
    def __init__(self, root, config, capsys):
        self.root, self.capsys, self.name = root, capsys, config["data"]["name"]
        self.path = root / "configs" / f"{self.name}.yaml"
        self.path.parent.mkdir()
        self.write(config)
        assert self.run("prepare", "--sample")[0] == 0
        self.folds.unlink()

    @property
    def folds(self):
        return self.root / "oof" / self.name / "folds.csv"

    @property
    def data(self):
        return self.root / "data" / self.name

    def write(self, config):
        self.path.write_text(yaml.safe_dump(config))

    def run(self, command, *more):
        code = main([command, str(self.path), "--root", str(self.root), *more])
        return code, self.capsys.readouterr().err

    def weights(self):
        """Bytes and time of change of the weights of every fit."""
        models = (self.root / "oof" / self.name / "network" / "models").glob("*.weights.h5")
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in models}

    def rows(self, name, part="oof"):
        store = RowStore.open(self.root / "oof" / self.name / name / part)
        return {name: store[row].tobytes() for row, name in enumerate(store.ids.tolist()) if store.complete[row]}


@pytest.fixture
def project(tmp_path, capsys):
    return lambda config: Project(tmp_path, config, capsys)


def assert_kept(before, after):
    assert before.items() <= after.items()
    return sorted(after.keys() - before.keys())


def test_a_new_year_of_sea_ice_is_one_more_fold_and_no_old_fit_is_trained_again(project):
    ice = project(ICE)
    index, held_back = ice.data / "monthly_train.csv", ice.root / "2003"
    lines = index.read_text().splitlines(keepends=True)
    shutil.copytree(ice.data, held_back)
    (ice.data / "sample_submission.csv").unlink()
    (ice.data / "test_truth.csv").unlink()
    for path in sorted((ice.data / "monthly_train").iterdir())[-12:]:
        path.unlink()
    index.write_text("".join(lines[:-12]))
    assert ice.run("prepare")[0] == 0
    assert ice.run("run")[0] == 0
    weights, names = ice.weights(), ("climatology", "network", "blend")
    rows, tests = {name: ice.rows(name) for name in names}, {name: ice.rows(name, "test") for name in names}
    for path in sorted((held_back / "monthly_train").iterdir())[-12:]:
        shutil.copy2(path, ice.data / "monthly_train")
    index.write_text("".join(lines))
    code, said = ice.run("run")
    assert code == 3
    assert "1 samples of the data are not in the file: 2002-12. Add them: skyfold prepare" in said
    ice.write({**ICE, "data": {**ICE["data"], "folds": {"years": [2001, 2003]}}, "eval_years": [2002, 2003]})
    assert ice.run("prepare")[0] == 0
    assert ice.run("run")[0] == 0
    assert assert_kept(weights, ice.weights()) == ["fold2_seed0.weights.h5"]
    for name in names:
        assert assert_kept(rows[name], ice.rows(name)) == ["2002-12"]
        assert ice.rows(name, "test").keys() == {"2003-12"}
        assert tests[name].keys() == {"2002-12"}
    grown = read_folds(ice.folds)
    assert dict(zip(grown.ids.tolist(), grown.fold.tolist(), strict=True))["2002-12"] == 2
    done = {path: path.read_bytes() for path in ice.folds.parent.rglob("*") if path.is_file()}
    assert ice.run("run")[0] == 0
    assert {path: path.read_bytes() for path in done} == done


def test_new_events_of_rain_are_predicted_by_the_fits_that_are_there(project):
    rain = project(RAIN)
    files = sorted((rain.data / "train").iterdir())
    for path in files[-4:]:
        path.rename(rain.root / path.name)
    assert rain.run("prepare")[0] == 0
    assert rain.run("run")[0] == 0
    weights = rain.weights()
    rows = {name: rain.rows(name) for name in ("dis", "network")}
    tests = {name: rain.rows(name, "test") for name in ("dis", "network")}
    for path in files[-4:]:
        (rain.root / path.name).rename(path)
    assert rain.run("prepare")[0] == 0
    assert rain.run("run")[0] == 0
    assert rain.weights() == weights
    for name in ("dis", "network"):
        assert assert_kept(rows[name], rain.rows(name)) == [path.name for path in files[-4:]]
        assert rain.rows(name, "test") == tests[name]


def test_samples_that_are_not_what_they_were_are_named_although_others_were_added(project):
    rain = project(RAIN)
    files = sorted((rain.data / "train").iterdir())
    files[-1].rename(rain.root / "later.npy")
    assert rain.run("prepare")[0] == 0
    assert rain.run("run")[0] == 0
    (rain.root / "later.npy").rename(files[-1])
    values = np.load(files[0])
    np.save(files[0], values[::-1])
    assert rain.run("prepare")[0] == 0
    code, said = rain.run("run")
    assert code == 3
    assert files[0].name in said
    assert files[-1].name not in said


def test_folds_that_grew_have_the_identity_of_those_they_were_made_as(tmp_path):
    ids = np.array(["a", "b", "c", "d", "e"])
    folds = Folds(ids, np.array([0, 1, 0, 1, -1]), np.array(["1", "1", "2", "3", "4"]))
    folds = Folds(ids, np.array([0, 0, 1, 1, -1]), folds.groups)
    grown = grow_by_groups(folds, np.array(["a", "f", "b", "c", "d", "e", "g"]), np.array([7, 7, 7, 8, 9, 5, 6]))
    assert grown.fold.tolist() == [0, 0, 0, 1, 1, -1, 1]
    assert grown.added.tolist() == [0, 1, 0, 0, 0, 0, 1]
    assert grown.groups.tolist() == ["1", "1", "1", "2", "3", "4", "g"]
    assert grown.hash() == folds.hash()
    write_folds(tmp_path / "folds.csv", grown)
    read = read_folds(tmp_path / "folds.csv")
    assert (read.added == grown.added).all()
    assert read.hash() == folds.hash()
    assert [rows.tolist() for rows in read.rows_of(0)] == [[0, 2], [1]]
    again = grow_by_groups(read, np.append(grown.ids, "h"), np.append(grown.groups, "z"))
    assert again.added.tolist() == [0, 1, 0, 0, 0, 0, 1, 2]
    with pytest.raises(UnfitFolds, match="'h' belongs to 'a' and to 'c', which are in folds 0 and 1"):
        grow_by_groups(folds, np.append(ids, "h"), np.array([1, 1, 1, 2, 3, 1]))


def test_years_that_would_move_what_is_there_are_refused():
    def of_years(last, years):
        times = np.array([f"{year}-12" for year in range(2000, last + 1)], dtype="datetime64[M]")
        return folds_of_years(ids=times.astype(str), times=times, years=years, gap=np.timedelta64(12, "M"))

    before = of_years(2004, (2003, 2004))
    assert grow_in_time(before, of_years(2005, (2003, 2005))).hash() == before.hash()
    assert grow_in_time(before, of_years(2005, (2003, 2004))).fold.tolist() == [-1, -1, -1, 0, 1, -1]
    with pytest.raises(UnfitFolds, match="'2002-12' moves from fold -1 to 0"):
        grow_in_time(before, of_years(2005, (2002, 2005)))


def test_rows_are_added_to_a_store_and_survive_a_kill_at_any_moment(tmp_path, monkeypatch):
    about = {"shape": (2, 2), "dtype": "uint8", "fingerprint": "f"}
    first = RowStore.open_or_create(tmp_path / "oof", ids=["a", "b"], **about)
    first.write(np.array([1]), np.full((1, 2, 2), 9, np.uint8))
    first.flush()

    def grow():
        return RowStore.open_or_create(tmp_path / "oof", ids=["0", "a", "b"], **about)

    for name in ("rename", "unlink", "rmdir"):
        shutil.copytree(tmp_path / "oof", tmp_path / "kept", dirs_exist_ok=True)
        with monkeypatch.context() as patch:
            target = shutil if name == "rmdir" else type(tmp_path)
            patch.setattr(target, "rmtree" if name == "rmdir" else name, _killed)
            with pytest.raises(KeyboardInterrupt):
                grow()
        grown = grow()
        assert grown.complete.tolist() == [False, False, True]
        assert (grown[2] == 9).all()
        shutil.rmtree(tmp_path / "oof")
        shutil.move(tmp_path / "kept", tmp_path / "oof")


def _killed(*_, **__):
    raise KeyboardInterrupt
