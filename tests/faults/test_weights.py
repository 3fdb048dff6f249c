"""Stored weights are compared with their checksum before every use, and named where they are not what was written."""

import json
import shutil

import numpy as np
import pytest

from skyfold import plugins
from skyfold.files import file_digest
from skyfold.store.fits import COLUMNS
from skyfold.training.checkpoint import Checkpoint, CheckpointFile

NETWORK_OF = """
name: {name}
model: {{family: plain_unet, options: {{filters: [4, 8]}}{init}}}
training: {{epochs: 1, batch_size: 4, seeds: [0]}}
image: {{size: [40, 48]}}
{more}
"""


def weights_of(tiny, fold=0):
    return tiny.oof / "network" / "models" / f"fold{fold}_seed0.weights.h5"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": flip,
    "another fold's": lambda path: shutil.copy2(path.with_name("fold1_seed0.weights.h5"), path),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000)),
    "a text": lambda path: path.write_text("weights\n"),
}


def user_config(tiny, use):
    """A config whose training starts from, or learns of, the weights of the run 'network'."""
    data = tiny.config("bright").read_text().partition("image:")[0]
    init = ", init_from: {run: network}" if use == "init_from" else ""
    more = "pseudo_labels: {run: network}" if use == "pseudo_labels" else ""
    return tiny.write_config("user", data + NETWORK_OF.format(name="user", init=init, more=more))


def forget_rows(tiny):
    """So that the weights are needed again."""
    for part in ("oof", "test"):
        shutil.rmtree(tiny.oof / "network" / part)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("use", ["resume", "predict", "init_from", "pseudo_labels"])
def test_weights_that_are_not_what_was_written_are_refused_by_name(tiny, use, damage):
    path = weights_of(tiny)
    DAMAGES[damage](path)
    config = "network"
    if use == "predict":
        forget_rows(tiny)
    elif use != "resume":
        config = user_config(tiny, use)
    before = tiny.files()
    code, _, err = tiny.run("train", config)
    assert code == 3, err
    assert f"{path}: not the weights that were written" in err
    assert "delete it and train run 'network' again: skyfold train CONFIG fits fold 0, seed 0 anew" in err
    after = tiny.files()
    assert {name: after.get(name) for name in before} == before
    assert not any(name.endswith(".h5") for name in after.keys() - before.keys())


def test_the_remedy_works_and_gives_the_same_rows(tiny):
    before = tiny.files()
    flip(weights_of(tiny))
    assert tiny.run("train", "network")[0] == 3
    weights_of(tiny).unlink()
    weights_of(tiny).with_name("fold0_seed0.checkpoint.npz").touch()
    code, _, err = tiny.run("train", "network")
    assert (code, "checkpoint.npz: damaged" in err, "the fit begins anew" in err) == (0, True, True), err
    after = tiny.files()
    assert after.keys() == before.keys()
    stored = [name for name in before if "network/oof" in name or "network/test" in name]
    assert {name: after[name] for name in stored} == {name: before[name] for name in stored}


def without_checksums(tiny):
    """The project as an older version left it."""
    for path in (tiny.oof / "network" / "models").glob("*.json"):
        about = json.loads(path.read_text())
        del about["weights_sha256"], about["format"], about["checksum"]
        path.write_text(json.dumps(about))


def test_an_older_record_gets_its_checksum_when_the_run_is_trained_again(tiny):
    without_checksums(tiny)
    path = weights_of(tiny)
    assert tiny.run("train", "network")[0] == 0
    about = json.loads((path.parent / "fold0_seed0.json").read_text())
    assert about["weights_sha256"] == file_digest(path)
    flip(path)
    assert tiny.run("train", "network")[0] == 3


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "a text"])
@pytest.mark.parametrize("use", ["predict", "init_from", "pseudo_labels"])
def test_damaged_weights_of_an_older_record_are_named_too(tiny, use, damage):
    without_checksums(tiny)
    DAMAGES[damage](weights_of(tiny))
    forget_rows(tiny)
    code, _, err = tiny.run("train", "network" if use == "predict" else user_config(tiny, use))
    assert code == 3, err
    assert f"{weights_of(tiny)}: not the weights of " in err
    assert "delete it and train run 'network' again" in err


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "a text"])
def test_a_file_of_encoder_weights_that_is_none_is_named(tiny, tmp_path, damage, tiny_families):
    path = tmp_path / "tiny.weights.h5"
    shutil.copy2(weights_of(tiny), path)
    DAMAGES[damage](path)
    data = tiny.config("bright").read_text().partition("image:")[0]
    text = f"""
name: pretrained
model: {{family: tiny_encoder, options: {{encoder_weights: {path}}}}}
training: {{epochs: 1, batch_size: 4, seeds: [0]}}
image: {{size: [16, 24]}}
"""
    code, _, err = tiny.run("train", tiny.write_config("pretrained", data + text))
    assert (code, "encoder_weights" in err, str(path) in err, "do not fit tiny" in err) == (2, True, True, True)


@pytest.mark.parametrize("damage", ["empty", "cut", "no zip", "a list", "no state", "numbers for tables"])
def test_a_damaged_checkpoint_is_named_and_not_resumed_from(tmp_path, capsys, damage):
    path = tmp_path / "fold0_seed0.checkpoint.npz"
    checkpoint = CheckpointFile(path, "own")
    assert checkpoint.read() is None
    row = dict.fromkeys(COLUMNS, 1.0)
    checkpoint.write(Checkpoint([row], {"weight0": np.ones(3)}, [[np.zeros(2)]], ""))
    found = checkpoint.read()
    assert found is not None
    assert found.history == [row]
    assert capsys.readouterr().err == ""
    about = {"a list": [], "no state": {}, "numbers for tables": {"history": 3, "kept": [{}]}}
    if damage in about:
        values = about[damage] and {"fingerprint": "own", **about[damage]}
        np.savez(path, about=np.frombuffer(json.dumps(values).encode(), dtype=np.uint8))
    else:
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[:-90], "no zip": b"\x93NUMPY?"}[damage])
    assert checkpoint.read() is None
    assert f"{path}: damaged" in capsys.readouterr().err


def test_a_finished_run_goes_on_to_submissions_without_its_initial_weights(tiny, tmp_path, tiny_families):
    path, data = tmp_path / "tiny.weights.h5", tiny.config("bright").read_text().partition("image:")[0]
    plugins.load("models", "tiny_encoder").encoder(3).save_weights(path)
    run = f"""
name: pretrained
model: {{family: tiny_encoder, options: {{encoder_weights: {path}}}}}
training: {{epochs: 1, batch_size: 4}}
image: {{size: [16, 24]}}
"""
    tiny.write_config("pretrained", data + run)
    blend = tiny.write_config("both", f"{data}name: both\nruns: [pretrained.yaml, bright.yaml]\n")
    assert tiny.run("run", blend)[0] == 0
    path.unlink()
    for part in ("oof", "test"):
        shutil.rmtree(tiny.oof / "pretrained" / part)
    for command, what in [
        ("train", tiny.root / "configs" / "pretrained.yaml"),
        ("run", blend),
        ("blend", blend),
        ("submit", blend),
        ("leaderboard", "tiny"),
    ]:
        code, _, err = tiny.run(command, what)
        assert code == 0, err
    code, _, err = tiny.run("train", tiny.root / "configs" / "pretrained.yaml", "--restart")
    assert (code, f"there is no file {path}" in err) == (2, True), err
    assert (tiny.oof / "pretrained" / "models" / "fold0_seed0.weights.h5").is_file()
