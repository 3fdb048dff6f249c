"""Data that change after training are named, at every step that would mix old results with them."""

from __future__ import annotations

import hashlib
import os
import shutil
import types

import cv2
import numpy as np
import pytest

from skyfold import plugins
from skyfold.errors import OofMismatch
from skyfold.store.contents import Contents, PartContents, require_run_of

RETRAIN = "Train it again: skyfold train CONFIG --restart. Or bring the data back to what they were."


def inverted(path) -> bytes:
    return cv2.imencode(".png", 255 - cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[1].tobytes()


def replace_image(tiny):
    path = tiny.images / "images" / "i03.png"
    path.write_bytes(inverted(path))
    return "image i03.png changed"


def replace_every_mask(tiny):
    for path in (tiny.images / "masks").iterdir():
        path.write_bytes(inverted(path))
    return "mask i00.png changed, mask i01.png changed, mask i02.png changed and 9 more"


def replace_image_with_the_same_size_and_time(tiny):
    path = tiny.images / "images" / "i03.png"
    before = path.stat()
    turned = np.ascontiguousarray(cv2.imread(str(path))[::-1])
    smaller = cv2.imencode(".png", turned, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    path.write_bytes(smaller)
    os.truncate(path, before.st_size)  # zeros behind the end of a PNG do no harm
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(smaller) <= path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    return "image i03.png changed"


CHANGES = [replace_image, replace_every_mask, replace_image_with_the_same_size_and_time]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_training_data_that_changed_are_named_and_nothing_is_written(tiny, change):
    named = change(tiny)
    before = tiny.files()
    trained = "since run 'bright' was trained", RETRAIN
    for command, name, *expected in [
        ("train", "bright", *trained),
        ("blend", "blend", *trained),
        ("submit", "blend", "since 'blend' was blended", "Train its runs on these data, then: Run `skyfold blend`"),
    ]:
        code, _, err = tiny.run(command, name)
        assert code == 3
        assert all(text in err for text in (named, *expected)), err
    assert tiny.files() == before


def test_another_meaning_of_the_mask_values_is_another_truth(tiny):
    """Of the blend's own `data`, which its runs do not share."""
    text = tiny.config("blend").read_text()
    tiny.write_config("blend", text.replace("classes: {blob: 255}", "classes: {blob: 0}, background: 255"))
    before = tiny.files()
    code, _, err = tiny.run("blend", "blend")
    assert code == 3
    assert "mask i00.png changed, mask i01.png changed, mask i02.png changed and 9 more since run 'bright'" in err
    assert tiny.files() == before


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_test_images_that_changed_are_predicted_anew_before_they_are_blended_or_submitted(tiny, change):
    folder = tiny.images / "test_images"
    if change == "changed":
        (folder / "t01.png").write_bytes(inverted(folder / "t01.png"))
    elif change == "added":
        (folder / "t09.png").write_bytes(inverted(folder / "t01.png"))
    else:
        (folder / "t01.png").unlink()
    named = {"changed": "t01.png changed", "added": "t09.png was added", "removed": "of 't01' was removed"}[change]
    before = tiny.files()
    for command, remedy in [("blend", "Predict them again: skyfold train CONFIG."), ("submit", "skyfold blend")]:
        code, _, err = tiny.run(command, "blend")
        assert code == 3
        assert f"test image {named}" in err
        assert remedy in err
    assert tiny.files() == before
    for command, name in [("train", "bright"), ("train", "dark"), ("blend", "blend"), ("submit", "blend")]:
        code, _, err = tiny.run(command, name)
        assert code == 0, err


def test_a_member_that_was_trained_anew_has_to_be_blended_again(tiny):
    tiny.write_config("bright", tiny.config("bright").read_text().replace("brightness", "red_blue_ratio"))
    assert tiny.run("train", "bright", "--restart")[0] == 0
    before = tiny.files()
    code, _, err = tiny.run("submit", "blend")
    assert code == 3
    assert "run 'bright' " in err
    assert "Run `skyfold blend` again" in err
    assert tiny.files() == before


def test_rows_of_a_blend_that_are_not_those_that_were_scored_are_refused(tiny):
    about = tiny.oof / "blend" / "test" / "rows.json"
    of_blend = about.read_bytes()
    shutil.rmtree(about.parent)
    shutil.copytree(tiny.oof / "dark" / "test", about.parent)
    about.write_bytes(of_blend)
    before = tiny.files()
    code, _, err = tiny.run("submit", "blend")
    assert code == 3
    assert "its rows are not those that 'blend' was scored with. Run `skyfold blend` again." in err
    assert tiny.files() == before


def test_what_was_imported_is_imported_again(tmp_path):
    Contents({"train": PartContents({"a": "1"})}).record(tmp_path)
    changed = Contents({"train": PartContents({"a": "2"})})
    with pytest.raises(OofMismatch, match=r"since run 'theirs' was imported\. Import it again: skyfold import theirs."):
        require_run_of(changed, tmp_path, "theirs", imported=True)


def test_copied_and_touched_data_are_the_same_data(tiny):
    for path in (tiny.images / "masks").iterdir():
        os.utime(path)
    shutil.copytree(tiny.images, tiny.images.with_name("copy"))
    shutil.rmtree(tiny.images)
    tiny.images.with_name("copy").rename(tiny.images)
    for command, name in [("train", "bright"), ("blend", "blend"), ("submit", "blend")]:
        code, _, err = tiny.run(command, name)
        assert code == 0, err


def test_bytes_that_changed_behind_the_same_size_and_times_are_found_with_verify(tiny, monkeypatch):
    """As by a disk fault. The stored checksum is changed instead: no program can set a time of change."""
    monkeypatch.setattr("skyfold.data.contents.SETTLED_NS", 0)
    assert tiny.run("train", "bright")[0] == 0
    cache = tiny.root / "data" / ".cache" / "tiny" / "checksums.json"
    path = tiny.images / "images" / "i03.png"
    cache.write_text(cache.read_text().replace(hashlib.sha256(path.read_bytes()).hexdigest(), "0" * 64))
    code, _, err = tiny.run("train", "bright", "--verify")
    assert code == 2
    assert f"{path}: its bytes changed" in err


def test_a_network_trained_on_the_same_images_under_another_name_is_not_begun_with(tiny):
    """Its score would be too good: it has seen what is validated."""
    twin = tiny.images.with_name("twin")
    shutil.copytree(tiny.images, twin)
    for part in ("images", "masks"):
        (twin / part / "i07.png").unlink()
    text = tiny.config("network").read_text().replace("name: tiny", "name: twin")
    source = "init_from: {data: tiny, run: network}, family: plain_unet"
    config = tiny.write_config("twin", text.replace("family: plain_unet", source))
    assert tiny.run("prepare", config)[0] == 0
    before = tiny.files()
    code, _, err = tiny.run("train", config)
    assert code == 2
    assert "the run 'network' on tiny was trained on 11 of these images too, the first of them i00.png" in err
    assert "Start from a run on other images." in err
    assert tiny.files() == before


def test_the_leaderboard_and_a_comparison_say_what_is_outdated(tiny):
    replace_image(tiny)
    code, out, _ = tiny.run("leaderboard", "tiny")
    assert code == 0
    assert out.count("outdated: image i03.png changed") == out.count("outdated") >= 4
    assert tiny.run("train", "bright", "--restart")[0] == 0
    out = tiny.run("leaderboard", "tiny")[1]
    assert "outdated: run 'bright' was trained anew since 'blend' was blended" in out
    code, out, _ = tiny.run("leaderboard", "tiny", "--diff", tiny.oof / "bright", tiny.oof / "dark")
    assert code == 0
    assert "DIFFERENT: image of 'i03' changed" in out


def test_a_run_that_does_not_record_its_data_is_reported_and_records_them_when_it_is_resumed(tiny):
    (tiny.oof / "bright" / "contents.json").unlink()
    (tiny.oof / "dark" / "contents.json").unlink()
    assert tiny.run("train", "dark")[0] == 0
    code, out, _ = tiny.run("blend", "blend")
    assert code == 0
    assert "run 'bright' does not record its data" in out
    assert "run 'dark'" not in out


def test_another_metric_scores_anew_and_says_what_it_does_not_choose_anew(tiny):
    data = tiny.config("bright").read_text().partition("image:")[0]
    tiny.write_config("both", f"{data}name: both\nruns: [network.yaml, bright.yaml]\n")
    for name in ("network", "bright", "both"):
        text = tiny.config(name).read_text()
        tiny.write_config(name, text.replace("options: {classes", "options: {metric: mean_iou, classes"))
    weights = {name: digest for name, digest in tiny.files().items() if name.endswith(".h5")}
    code, out, err = tiny.run("blend", tiny.config("both"))
    assert (code, "mean_iou" in out) == (0, True), err
    assert "run 'network' is scored anew, since the metric changed; the epochs that its fits kept" in err
    assert "run 'bright' is scored anew" not in err  # it has no fits
    assert weights.items() <= tiny.files().items()


def test_a_fit_is_not_added_to_those_of_other_code(tiny, monkeypatch):
    """Comments do not count; what is finished stays as it is."""
    monkeypatch.setattr(plugins, "source_digest", lambda package, name: "other")
    assert tiny.run("train", "network")[0] == 0
    before = tiny.files()
    code, _, err = tiny.run("train", "network", "--set", "tta=[hflip]")
    assert code == 3
    assert "the code of model.family plain_unet" in err
    assert "--restart" in err
    changed = {name for name, digest in tiny.files().items() if before.get(name) != digest}
    assert all(name.startswith("oof/tiny/network/") for name in changed)


def test_comments_and_docstrings_are_not_code(tmp_path, monkeypatch):
    package = tmp_path / "shapes"
    package.mkdir()
    monkeypatch.setattr(plugins, "load", lambda *_: types.SimpleNamespace(__file__=str(package / "one.py")))
    plain = "def f(x):\n    return x\n"
    explained = '"""Doc."""\n\ndef f(x):\n    """Doc."""\n    return x  # why\n'
    digests = []
    for text in (plain, explained, plain.replace("return x", "return -x")):
        (package / "one.py").write_text(text)
        digests.append(plugins.source_digest("shapes", "one"))
    assert digests[0] == digests[1] != digests[2]


def test_images_that_change_during_a_study_are_named(tiny):
    text = """
name: search
base: network.yaml
folds: [0]
sampler: {startup_trials: 1}
search:
  optimizer.learning_rate: {kind: float, low: 0.001, high: 0.01, log: true}
"""
    study = tiny.write_config("study", text)
    assert tiny.run("tune", study, "--trials", "1")[0] == 0
    replace_image(tiny)
    before = tiny.files()
    code, _, err = tiny.run("tune", study, "--trials", "2")
    assert code == 3
    assert "image i03.png changed since study 'search' was begun. Give the study another name" in err
    assert tiny.files() == before


def test_a_member_whose_config_changed_since_is_not_submitted(tiny):
    text = tiny.config("bright").read_text()
    tiny.write_config("bright", text.replace("brightness", "red_blue_ratio"))
    before = tiny.files()
    code, _, err = tiny.run("submit", "blend")
    assert code == 3
    assert "the config of run 'bright' has changed since 'blend' was blended" in err
    assert "skyfold train --restart" in err
    assert tiny.files() == before
    tiny.write_config("bright", text)
    assert tiny.run("submit", "blend")[0] == 0


def set_min_areas(tiny, areas):
    path = tiny.config("blend")
    path.write_text(path.read_text().replace("[0, 20]", areas))
    assert tiny.run("blend", "blend")[0] == 0


def edit_table(tiny):
    table = tiny.root / "submissions" / "tiny" / "blend.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *[f"{row.split(',')[0]},1 3" for row in rows]]) + "\n")


STALE = {
    "blend.csv is not as skyfold wrote it": edit_table,
    "'blend' was blended again since blend.csv was submitted": lambda tiny: set_min_areas(tiny, "[400]"),
    "image i03.png changed": replace_image,
    "test image t00.png changed": lambda tiny: (tiny.images / "test_images" / "t00.png").write_bytes(
        inverted(tiny.images / "test_images" / "t00.png")
    ),
}


@pytest.mark.parametrize("words", STALE)
def test_a_submission_that_is_out_of_date_is_scored_with_a_word(tiny, words):
    table = tiny.root / "submissions" / "tiny" / "blend.csv"
    truth = shutil.copy(table, tiny.root / "truth.csv")
    score = ("score", tiny.config("bright"), table, "--truth", truth)
    assert "outdated" not in tiny.run(*score)[1]
    STALE[words](tiny)
    code, out, _ = tiny.run(*score)
    assert (code, f"outdated: {words}" in out) == (0, True), out
    assert "outdated" not in tiny.run("score", tiny.config("bright"), truth, "--truth", truth)[1]


def test_a_run_in_a_folder_of_another_name_is_listed_with_the_folder(tiny):
    shutil.copytree(tiny.oof / "bright", tiny.oof / "copied")
    lines = [line for line in tiny.run("leaderboard", "tiny")[1].splitlines() if line.startswith("bright ")]
    assert [("in the folder 'copied'" in line) for line in lines] in ([True, False], [False, True])


def test_the_leaderboard_says_where_data_cannot_be_compared(tiny):
    assert "not known" not in tiny.run("leaderboard", "tiny")[2]
    (tiny.images / "images" / "i03.png").unlink()
    code, out, err = tiny.run("leaderboard", "tiny")
    assert (code, "outdated" in out) == (0, False)
    assert err.count("whether the data changed since is not known") == 1
    assert "i03.png: no image for this mask" in err


def test_a_series_of_one_checksum_that_now_has_one_a_frame_has_not_changed():
    """An older version knew the checksum of the whole only; inputs or targets alone may be alike by chance."""
    old, new = {"a": "1", "b": "1"}, {"a": "2", "b": "3", "c": "4"}
    assert PartContents(old, old).changes(PartContents(new, new)) == []
    assert PartContents({"a": "5", "b": "6"}, old).changes(PartContents({"a": "5", "b": "6"}, {"a": "2", "b": "1"}))


def test_samples_of_one_file_changed_together():
    """Of frames of one archive there is one checksum, which tells not which of them changed."""
    before, after = PartContents({"a": "1", "b": "1"}), PartContents({"a": "2", "b": "2", "c": "2"})
    assert before.changes(after) == [
        "something in the 3 images changed (they have one checksum)",
        "image of 'c' was added",
    ]
    assert before.changes(before) == []
