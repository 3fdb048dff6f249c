"""A bundle predicts in bfloat16 where that is asked for; packing says where its masks differ."""

import numpy as np
import pytest
import yaml

from skyfold.cli.main import main
from skyfold.pipeline import precision
from skyfold.store.rows import RowStore

CONFIG = yaml.safe_load("""
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 2, seed: 0}
  sample: {train: 8, test: 3, seed: 0, height: 112}
image: {size: [32, 48]}
name: unet
model: {family: plain_unet, options: {filters: [4, 8]}}
training: {epochs: 1, batch_size: 4}
""")


@pytest.fixture(scope="module")
def project(tmp_path_factory, own_data):
    root = tmp_path_factory.mktemp("project")
    (root / "configs").mkdir()
    path = root / "configs" / "unet.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    assert main(["run", str(path), "--root", str(root)]) == 0
    return root


def pack(project, out):
    return main(["pack", str(project / "configs/unet.yaml"), "--out", str(out), "--root", str(project)])


def test_predictions_in_bfloat16_are_near_those_of_training_and_are_not_kept_for_them(project, tmp_path, capsys):
    assert pack(project, tmp_path / "bundle") == 0
    assert "bfloat16" not in capsys.readouterr().err
    command = ["predict", str(tmp_path / "bundle"), "--images", str(project / "data/tiny/test_images")]
    trained = RowStore.open(project / "oof/tiny/unet/test").values.astype(int)
    for given, greatest in ((["--precision", "bfloat16"], 6), ([], 0), (["--precision", "float32"], 0)):
        assert main([*command, "--out", str(tmp_path / "out"), *given]) == 0
        made = RowStore.open(tmp_path / "out/.work/rows/unet").values.astype(int)
        assert np.abs(made - trained).max() <= greatest
        assert (made != trained).any() == bool(greatest)


def test_packing_names_a_run_whose_masks_differ(project, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "MOST", -1.0)
    assert pack(project, tmp_path / "bundle") == 0
    assert "note: run 'unet': in bfloat16 0." in capsys.readouterr().err


def test_packing_works_where_the_backend_is_missing(project, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "none")
    assert pack(project, tmp_path / "bundle") == 0
    assert "not compared with bfloat16. KERAS_BACKEND=none" in capsys.readouterr().err
