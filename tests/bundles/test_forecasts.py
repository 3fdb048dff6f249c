"""A forecast is packed into a folder that forecasts from the newest frames, bit for bit as training did."""

import json

import numpy as np
import pytest
import yaml
from threadpoolctl import threadpool_info, threadpool_limits

from skyfold.cli.main import main
from skyfold.forecasting.baselines.edge_blend import EdgeBlend, FittedEdgeBlend
from skyfold.store.rows import RowStore

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")
GRID = (16, 12)
ICE = yaml.safe_load("""
data:
  competition: arctic_sea_ice
  name: ice
  options: {grid: [16, 12]}
  folds: {years: [2002, 2003]}
  sample: {years: 9, seed: 0}
name: ice_table
eval_years: [2003, 2003]
forecasts:
  - {name: persistence, family: persistence}
  - {name: climatology, family: mean_of_years}
  - {name: damped, family: damped_anomaly}
  - {name: edge, family: edge_blend}
  - name: network
    run:
      task: forecasting
      frame_adapter: {name: anomalies}
      model: {family: tiny_net}
      loss: {name: mae}
      training: {epochs: 1, batch_size: 4, checkpoint: last, seeds: [0, 1]}
  - {name: blend, family: weighted_blend, options: {event: ice, blocks: [2, 1]}, members: [damped, network]}
""")
RAIN = yaml.safe_load("""
data:
  competition: hydro_rain
  name: rain
  folds: {k: 2}
  sample: {train: 8, test: 3, train_events: 2, test_events: 1}
name: rain_table
forecasts:
  - {name: dis, family: rain_extrapolation}
  - {name: farneback, family: rain_extrapolation, options: {motions: [farneback]}}
  - name: network
    run:
      task: forecasting
      frame_adapter: {name: frames}
      model: {family: rain_unet, options: {filters: [2, 4]}}
      loss: {name: mae}
      training: {epochs: 1, batch_size: 4, checkpoint: last}
  - {name: blurred, family: rain_blend, options: {stride: 1}, members: [dis, farneback, network]}
""")


def pack(root, config, name="", *options, out=None):
    """Pack a config, `name` a run written in it, as the folder `name` or `out`."""
    target = out or root / (name or config)
    address = f"{root / 'configs' / config}.yaml{f'#{name}' if name else ''}"
    return main(["pack", address, "--out", str(target), "--root", str(root), *map(str, options)])


@pytest.fixture(scope="module")
def project(tmp_path_factory, own_data, tiny_families):
    """Both tables made, and their last forecasts packed as the folders `ice` and `rain`; `network` is that of ice."""
    root = tmp_path_factory.mktemp("project")
    (root / "configs").mkdir()
    for name, config in (("ice", ICE), ("rain", RAIN)):
        (root / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(config))
        assert main(["run", str(root / "configs" / f"{name}.yaml"), "--root", str(root)]) == 0
        assert pack(root, name) == 0
    assert pack(root, "ice", "network") == 0
    return root


def imported(project, folder):
    """The config of the run `foreign`, whose forecasts of ice were made elsewhere."""
    np.save(folder / "oof.npy", np.full((2, *GRID, 12), 100, np.float32))
    np.save(folder / "test.npy", np.full((1, *GRID, 12), 100, np.float32))
    files = ["--oof", str(folder / "oof.npy"), "--test", str(folder / "test.npy")]
    assert main(["import", "foreign", "--data", str(project / "configs/ice.yaml"), *files, "--root", str(project)]) == 0
    return {"task": "forecasting", "model": {"family": "imported"}}


def predict(bundle, out, *more):
    return main(["predict", str(bundle), "--out", str(out), *map(str, more)])


def ice_files(project):
    return sorted((project / "data/ice/monthly_train").glob("*.npy"))


def manifest_of(bundle):
    return json.loads((bundle / "manifest.json").read_text())


def rows_of(folder):
    return np.stack([RowStore.open(folder)[row] for row in range(len(RowStore.open(folder).ids))])


def test_ice_is_forecast_from_the_newest_frames_bit_for_bit_as_in_training(project, tmp_path):
    table = project / "data/ice/monthly_train.csv"
    kinds = [option for kind in ("csv", "npz", "maps") for option in ("--write", kind)]
    for name, last in (("network", "network"), ("ice", "blend")):
        out = tmp_path / name
        assert predict(project / name, out, "--frames", table, *kinds) == 0
        stored = rows_of(project / "oof/ice" / last / "test")
        with np.load(out / "forecast.npz") as found:
            np.testing.assert_array_equal(found["values"], stored)
            assert found["dates"].astype(str).tolist()[0][::11] == ["2004-01", "2004-12"]
            assert found["lead_times"].tolist() == list(range(1, 13))
            assert str(found["unit"]) == "concentration x 250"
            assert found["valid"].shape == stored.shape
            assert not found["valid"].all()
        assert (out / "maps/2003-12.png").is_file()
    assert (out / "submission.csv").read_bytes() == (project / "submissions/ice/ice_table.csv").read_bytes()


def test_rain_is_forecast_from_radar_frames_bit_for_bit_as_in_training(project, tmp_path):
    sample = project / "data/rain/sample_submission.csv"
    files = sorted((project / "data/rain/test").glob("*.npy"))
    stored = rows_of(project / "oof/rain/blurred/test")
    assert predict(project / "rain", tmp_path / "a", "--frames", *files, "--sample", sample) == 0
    for name in ("", "_points"):
        trained = (project / f"submissions/rain/rain_table{name}.csv").read_bytes()
        assert (tmp_path / f"a/submission{name}.csv").read_bytes() == trained
    assert predict(project / "rain", tmp_path / "b", "--frames", files[1], "--write", "npz") == 0
    with np.load(tmp_path / "b/forecast.npz") as found:
        np.testing.assert_array_equal(found["values"][0], stored[1])
        assert found["ids"].tolist() == [files[1].name]
        assert "dates" not in found
    assert predict(project / "rain", tmp_path / "c", "--data", project / "data/rain", "--write", "npz") == 0
    with np.load(tmp_path / "c/forecast.npz") as found:
        np.testing.assert_array_equal(found["values"], stored)


def test_frames_that_are_named_by_their_times_need_no_table(project, tmp_path):
    assert predict(project / "network", tmp_path, "--frames", *ice_files(project), "--write", "npz") == 0
    with np.load(tmp_path / "forecast.npz") as found:
        np.testing.assert_array_equal(found["values"], rows_of(project / "oof/ice/network/test"))


def test_the_year_after_any_month_is_forecast_and_said_to_be_unusual(project, tmp_path, capsys):
    assert predict(project / "ice", tmp_path, "--frames", *ice_files(project)[:-6], "--write", "npz") == 0
    with np.load(tmp_path / "forecast.npz") as found:
        assert found["dates"].astype(str).tolist()[0][::11] == ["2003-07", "2004-06"]
    said = capsys.readouterr().err
    assert "the newest frame is of 2003-06" in said
    assert "102 frames are known, 108 were in training" in said


def test_a_forecast_that_was_killed_goes_on_and_a_finished_one_repeats_nothing(project, tmp_path, monkeypatch):
    from skyfold.training.network import Network

    asked, logits = [], Network.logits

    def counted(self, inputs):
        asked.append(len(inputs))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return logits(self, inputs)

    monkeypatch.setattr(Network, "logits", counted)
    frames = ["--frames", project / "data/ice/monthly_train.csv"]
    assert predict(project / "ice", tmp_path, *frames) == 130
    assert not (tmp_path / "submission.csv").exists()
    assert predict(project / "ice", tmp_path, *frames) == 0
    assert (tmp_path / "submission.csv").read_bytes() == (project / "submissions/ice/ice_table.csv").read_bytes()
    done = len(asked)
    assert predict(project / "ice", tmp_path, *frames) == 0
    assert len(asked) == done


def test_frames_that_do_not_fit_are_named_before_anything_is_forecast(project, tmp_path, capsys):
    def refused(bundle, *arguments, says):
        assert predict(project / bundle, tmp_path / "out", *arguments) == 2
        assert says in capsys.readouterr().err
        assert not any((tmp_path / "out").glob("[!.]*"))

    files = ice_files(project)
    refused("ice", "--frames", *files[-11:], says="11 monthly frames, 2003-02 to 2003-12: a forecast takes at least 12")
    refused("ice", "--frames", *files[:40], *files[41:], says="1998-05 is missing: 1998-06 follows 1998-04")
    other = tmp_path / "200401.npy"
    np.save(other, np.zeros((9, 9, 5), np.uint8))
    refused("ice", "--frames", *files, other, says=f"{other}: expected numbers (16, 12, 5), got uint8 (9, 9, 5)")
    refused("ice", "--frames", files[0], project / "ice/README.md", says="README.md: not a file of sea-ice frames")
    refused("ice", "--frames", tmp_path / "none.npy", says="none.npy: no such file")
    refused("ice", says="name what to predict: --frames FILE ..., or the contest's own folder: --data DIR")
    refused("ice", "--images", tmp_path, says="competition 'arctic_sea_ice' reads no folder of images")
    refused("ice", "--frames", *files, "--write", "masks", says="--write masks: not for a bundle of task: forecasting")
    radar = sorted((project / "data/rain/train").glob("*.npy"))
    refused("rain", "--frames", *radar, says="shape (120, 120, 5), expected (120, 120, 4)")
    np.savez(tmp_path / "patches.npz", x=np.zeros((1, 120, 120, 5), np.uint8), event=np.array(["storm"]))
    refused("rain", "--frames", tmp_path / "patches.npz", says="'storm_00000': 5 frames; the bundle forecasts from 4")
    refused("rain", "--frames", *radar, tmp_path / "patches.npz", says="Name files of one kind")


def test_patches_and_composites_are_forecast_by_networks_of_other_files(project, tmp_path):
    known = np.random.default_rng(0).integers(0, 200, (2, 120, 120, 4)).astype(np.uint8)
    np.savez(tmp_path / "patches.npz", x=known, event=np.array(["storm", "storm"]))
    assert predict(project / "rain", tmp_path / "a", "--frames", tmp_path / "patches.npz", "--write", "npz") == 0
    with np.load(tmp_path / "a/forecast.npz") as found:
        assert found["ids"].tolist() == ["storm_00000", "storm_00001"]
        assert found["values"].shape == (2, 120, 120, 1)
    pytest.importorskip("pyfive", reason="files in HDF5 need pyfive")
    xarray = pytest.importorskip("xarray", reason="files in NetCDF are read by xarray")
    from odim_listing import ODIM, write_odim

    listing = ODIM.replace("xsize = 5", "xsize = 120").replace("ysize = 4", "ysize = 120")
    for minute in range(540, 590, 10):
        data = np.full((120, 120), minute - 450, np.uint8)
        write_odim(tmp_path / f"c{minute}.h5", listing, {"dataset1/data1/data": data}, minute)
    files, kinds = sorted(tmp_path.glob("c*.h5")), ["--write", "npz", "--write", "netcdf"]
    assert predict(project / "rain", tmp_path / "b", "--frames", *files, *kinds) == 0
    with np.load(tmp_path / "b/forecast.npz") as found:
        assert found["dates"].astype("datetime64[m]").astype(str).tolist() == [["2010-08-26T09:50"]]
        values = found["values"][0, ..., 0]
    with xarray.open_dataset(tmp_path / "b/forecast.nc", engine="h5netcdf") as written:
        np.testing.assert_array_equal(written["rainfall_rate"].to_numpy()[0, 0], values)


def test_a_forecast_bundle_says_what_it_holds_and_no_path_of_the_machine_it_was_made_on(project):
    for name, runs, families in (
        ("network", ["network"], []),
        ("ice", ["network"], ["damped_anomaly", "weighted_blend"]),
        ("rain", ["network"], ["rain_extrapolation", "rain_extrapolation", "rain_blend"]),
    ):
        texts = [(project / name / file).read_text() for file in ("manifest.json", "README.md")]
        assert not any(str(project) in text for text in texts)
        manifest = manifest_of(project / name)
        assert [run["name"] for run in manifest["runs"]] == runs
        assert [one["family"] for one in manifest["forecasts"]] == families
        weights = {path.relative_to(project / name).as_posix() for path in (project / name).rglob("*.h5")}
        assert weights == {fit["weights"] for run in manifest["runs"] for fit in run["fits"]}
        assert f"skyfold predict {manifest['name']} --frames FILE ..." in texts[1]
    fits = [fit["weights"] for fit in manifest_of(project / "network")["runs"][0]["fits"]]
    assert fits == [f"runs/network/fold1_seed{seed}.weights.h5" for seed in (0, 1)]  # of the newest fold


def test_what_cannot_be_packed_is_refused_by_name(project, tmp_path, capsys):
    def refused(config, says, code=2):
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(config))
        assert main(["pack", str(path), "--out", str(tmp_path / "out"), "--root", str(project)]) == code
        assert says in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    other = {"name": "climatology", "family": "mean_of_years", "options": {"years": 2}}
    refused({**ICE, "forecasts": [other]}, "climatology: made with another config", 3)
    refused({**ICE, "forecasts": [{"name": "new", "family": "persistence"}]}, "new", 3)
    foreign = {"name": "foreign", "run": imported(project, tmp_path)}
    refused({**ICE, "forecasts": [foreign]}, "run 'foreign' is imported and has no weights to pack")
    gate = {"name": "gate", "task": "classification", "model": {"family": "tiny_net"}, "loss": {"name": "bce"}}
    gates = {"name": "gates", "data": ICE["data"], "runs": [{**gate, "image": {"size": [32, 32]}}]}
    refused(gates, "'gates': runs of this task cannot be packed by themselves")


def test_an_edge_blend_is_packed_with_what_it_fitted(project, tmp_path, monkeypatch):
    """Its matrices are multiplied in one thread, whatever the machine has: other threads would fit other bits."""
    threads, fit, forecast = set(), EdgeBlend.fit, FittedEdgeBlend.forecast

    def counted(call):
        def counting(*given):
            threads.update(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
            return call(*given)

        return counting

    monkeypatch.setattr(EdgeBlend, "fit", counted(fit))
    monkeypatch.setattr(FittedEdgeBlend, "forecast", counted(forecast))
    path = project / "configs" / "edge.yaml"
    path.write_text(yaml.safe_dump({**ICE, "name": "edge", "forecasts": ICE["forecasts"][:4]}))
    frames = ["--frames", project / "data/ice/monthly_train.csv"]
    with threadpool_limits(2):
        assert pack(project, "edge") == 0
        assert predict(project / "edge", tmp_path, *frames, "--write", "npz") == 0
    assert threads == {1}
    with np.load(tmp_path / "forecast.npz") as found:
        np.testing.assert_array_equal(found["values"], rows_of(project / "oof/ice/edge/test"))


def test_a_mean_of_networks_is_packed_as_a_blend(project, tmp_path, capsys):
    network = next(one for one in ICE["forecasts"] if one["name"] == "network")
    runs = [{"name": "network", **network["run"]}, {"name": "foreign", **imported(project, tmp_path)}]
    for name, count in (("mean", 1), ("mean_of_two", 2)):
        path = project / "configs" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"name": name, "data": ICE["data"], "runs": runs[:count]}))
        assert main(["blend", str(path), "--root", str(project)]) == 0
    assert pack(project, "mean") == 0
    assert pack(project, "mean_of_two", out=tmp_path / "no") == 2
    assert "run 'foreign' is imported and has no weights to pack" in capsys.readouterr().err
    assert pack(project, "mean_of_two", "", "--members", "network", out=tmp_path / "left") == 0
    assert "Left out: foreign." in capsys.readouterr().out
    assert manifest_of(tmp_path / "left")["scores"] == manifest_of(project / "mean")["scores"]
    for bundle in (project / "mean", tmp_path / "left"):
        out = tmp_path / f"of_{bundle.name}"
        assert predict(bundle, out, "--frames", project / "data/ice/monthly_train.csv", "--write", "npz") == 0
        with np.load(out / "forecast.npz") as found:
            np.testing.assert_array_equal(found["values"], rows_of(project / "oof/ice/mean/test"))


def test_a_forecast_of_fewer_members_is_the_one_that_skyfold_run_makes_of_them(project, tmp_path, capsys):
    stored = sorted(path for path in (project / "oof/rain/blurred").rglob("*") if path.is_file())
    before = [path.read_bytes() for path in stored]
    capsys.readouterr()
    assert pack(project, "rain", "", "--members", "network,dis", out=tmp_path / "fewer") == 0
    said, manifest = capsys.readouterr().out, manifest_of(tmp_path / "fewer")
    assert [path.read_bytes() for path in stored] == before
    last = {**RAIN["forecasts"][-1], "name": "smaller", "members": ["dis", "network"]}
    config = {**RAIN, "name": "smaller", "forecasts": [*RAIN["forecasts"][:-1], last]}
    (project / "configs/smaller.yaml").write_text(yaml.safe_dump(config))
    assert main(["run", str(project / "configs/smaller.yaml"), "--root", str(project)]) == 0
    assert pack(project, "smaller", out=tmp_path / "whole") == 0
    expected = manifest_of(tmp_path / "whole")
    assert manifest["scores"] == expected["scores"]
    assert manifest["forecasts"] == [expected["forecasts"][0], {**expected["forecasts"][1], "name": "blurred"}]
    assert [run["name"] for run in manifest["runs"]] == ["network"]
    of_all = manifest_of(project / "rain")["scores"]["cv_cross_fitted"]
    cost = manifest["scores"]["cv_cross_fitted"] - of_all
    for text in (said, (tmp_path / "fewer/README.md").read_text()):
        assert "Left out: farneback. mae_by_csi, cross-fitted:" in text
        assert f"instead of {of_all:.4f} (" in text
        assert f"of all members: {cost:+.4f}." in text
    out = tmp_path / "out"
    assert predict(tmp_path / "fewer", out, "--data", project / "data/rain", "--write", "npz") == 0
    with np.load(out / "forecast.npz") as found:
        np.testing.assert_array_equal(found["values"], rows_of(project / "oof/rain/smaller/test"))


def test_fits_of_some_folds_and_those_on_all_samples_are_packed(project, tmp_path, capsys):
    """Rain has two folds that predict new samples; of ice, whose folds follow each other in time, it is the last."""
    made = []
    for fold in (0, 1):
        out = tmp_path / f"fold{fold}"
        assert pack(project, "rain", "", "--folds", fold, out=out) == 0
        assert f"Fits of fewer folds (network: fold {fold})" in capsys.readouterr().out
        assert manifest_of(out)["scores"] == manifest_of(project / "rain")["scores"]
        assert predict(out, tmp_path / f"p{fold}", "--data", project / "data/rain") == 0
        made.append(rows_of(tmp_path / f"p{fold}/.work/rows/network"))
    of_both = rows_of(project / "oof/rain/network/test")  # the mean, before it becomes mm/h
    assert (np.minimum(*made) - 1e-6 <= of_both).all()
    assert (of_both <= np.maximum(*made) + 1e-6).all()
    assert not np.array_equal(*made)
    assert pack(project, "ice", "", "--folds", 0, out=tmp_path / "no") == 2
    assert "--folds 0: new samples are predicted by the fits of fold 1. Name these." in capsys.readouterr().err
    assert pack(project, "ice", "", "--folds", 1, out=tmp_path / "ice") == 0
    whole, same = manifest_of(project / "ice"), manifest_of(tmp_path / "ice")
    assert {**same, "created": ""} == {**whole, "created": "", "checksum": same["checksum"]}

    assert pack(project, "rain", "", "--full", out=tmp_path / "no") == 2
    assert "run 'network' has not finished the fit on all samples with seed 0" in capsys.readouterr().err
    assert main(["train", f"{project / 'configs/rain.yaml'}#network", "--full", "--root", str(project)]) == 0
    assert pack(project, "rain", "", "--full", out=tmp_path / "full") == 0
    assert "the score is that of the folds' fits" in capsys.readouterr().out
    (weights,) = (tmp_path / "full").rglob("*.h5")
    assert weights.read_bytes() == (project / "oof/rain/network/models/full_seed0.weights.h5").read_bytes()
    assert predict(tmp_path / "full", tmp_path / "out", "--data", project / "data/rain") == 0
    of_all = rows_of(tmp_path / "out/.work/rows/network")
    assert not any(np.array_equal(of_all, of_fold) for of_fold in made)
    assert pack(project, "edge", "", "--full", out=tmp_path / "edge") == 0  # nothing of it is trained
    assert manifest_of(tmp_path / "edge")["choice"] is None


def test_members_and_times_that_cannot_be_chosen_are_refused(project, tmp_path, capsys):
    def refused(*options, says, config="rain", name=""):
        assert pack(project, config, name, *options, out=tmp_path / "out") == 2
        assert says in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    refused("--members", "farnebck", says="'farnebck' is no member of 'blurred' (did you mean 'farneback'?)")
    refused("--members", "network", config="ice", name="network", says="'network' has no members to choose from")
    refused("--time-limit", "9h", "--images", 9, says="--time-limit: not supported for forecasts")
