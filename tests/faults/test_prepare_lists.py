"""`prepare` lists every kind of problem at once, and says what is no error but nobody should have to find out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faults.conftest import write_png
from skyfold.competition import build
from skyfold.errors import DataLayoutError, Problems


def prepare(tiny, name="bright", *more):
    """Exit code and messages of `prepare` with a fresh set of folds, progress aside."""
    code, _, err = tiny.run("prepare", name, *more)
    return code, "".join(
        line for line in err.splitlines(True) if not line.startswith(("checking", "reading", "compar"))
    )


def with_options(tiny, text, name="other"):
    """A config of the same images with other options, in a data set of its own."""
    whole = tiny.config("bright").read_text()
    (tiny.root / "data" / name).symlink_to(tiny.images)
    changed = whole.replace("{classes: {blob: 255}, test_images: test_images}", text)
    return tiny.write_config(name, changed.replace("name: tiny", f"name: {name}"))


def test_every_kind_of_problem_is_listed_with_its_count_and_the_first_ten(tiny):
    images, masks, tests = (tiny.images / name for name in ("images", "masks", "test_images"))
    for i in range(15):
        write_png(images / f"alone{i:02d}.png", np.zeros((40, 48, 3), np.uint8))
    (images / "i00.png").write_bytes((images / "i00.png").read_bytes()[:-20])
    write_png(masks / "i01.png", np.full((40, 48), 7, np.uint8))
    write_png(masks / "i02.png", np.zeros((20, 24), np.uint8))
    (masks / "nothing.png").write_bytes((masks / "i04.png").read_bytes())
    (tests / "t00.png").write_text("<html>404</html>")
    (tests / "t01.jpg").write_bytes(b"")
    config = with_options(
        tiny, "{classes: {blob: 255}, test_images: test_images, group: {file: groups.csv, id: id, column: place}}"
    )
    (tiny.images / "groups.csv").write_text("id,place\n" + "".join(f"i{i:02d},a\n" for i in range(11)))
    before = tiny.files()
    code, said = prepare(tiny, config)
    assert code == 2
    for part in (
        "images without a mask (15):",
        "alone09.png: no mask",
        "  - and 5 more",
        "masks without an image (1):",
        "files that cannot be read (",
        "i00.png: the PNG is cut short",
        "i01.png: 1920 pixels have values that no class has: 7",
        "images and masks of unequal size (1):",
        "i02.png: 40x48 pixels, its mask 20x24",
        "t00.png: neither JPEG nor PNG",
        "t01.png beside t01.jpg, two files of one id. Keep one",
        "groups.csv, where every image needs one group (1):",
        "no group for image 'i11'",
    ):
        assert part in said, part
    assert "alone10.png: no mask" not in said
    assert tiny.files() == before


def test_missing_folders_are_listed_with_what_else_is_wrong(tiny):
    (tiny.images / "masks").rename(tiny.images / "elsewhere")
    (tiny.images / "test_images" / "t00.png").write_text("no image")
    code, said = prepare(tiny)
    assert code == 2
    assert "masks: no such folder" in said
    assert "t00.png: neither JPEG nor PNG" in said
    (tiny.images / "images").rename(tiny.images / "pictures")
    code, said = prepare(tiny)
    assert code == 2
    assert "images: no such folder" in said
    assert "masks: no such folder" in said


def test_images_of_two_sizes_do_not_hide_what_else_is_wrong(tiny):
    write_png(tiny.images / "images" / "i05.png", np.zeros((20, 24, 3), np.uint8))
    (tiny.images / "masks" / "i06.png").unlink()
    code, said = prepare(tiny)
    assert code == 2
    assert "i05.png 20x24. Set grid: [rows, columns] in data.options" in said
    assert "i06.png: no mask 'i06.png' for this image" in said


@pytest.mark.parametrize("name", ["understanding_clouds", "leeds_sea_ice", "cloud_cover"])
def test_every_contest_lists_a_first_broken_file_and_the_other_problems(tmp_path, name):
    folder = tmp_path / name
    options = {"grid": [96, 96]} if name == "cloud_cover" else {}
    build(name, options).write_sample(folder, train=6, test=2, **({"height": 96} if name.startswith("und") else {}))
    whole = sorted(
        path for path in folder.rglob("*") if path.suffix in (".jpg", ".png", ".tiff") and "test" not in path.parts
    )
    first = whole[0]
    first.write_bytes(first.read_bytes()[:50])
    last = sorted((folder / "test").glob("*_sar.tiff"))[-1:] or whole[-1:]
    last[0].unlink()
    with pytest.raises(DataLayoutError) as error:
        build(name, options, folder).check(folder)
    assert str(first) in str(error.value)
    assert last[0].stem.removesuffix("_sar") in str(error.value)


def test_problems_are_kept_once_in_the_order_of_their_kinds(tmp_path):
    problems = Problems()
    problems.refuse(tmp_path)
    problems.add("b", "one", "one", *map(str, range(11)))
    problems.add("a", "two")
    with pytest.raises(
        DataLayoutError, match=r"(?s)13 problems with its files\nb \(12\):\n  - one\n.*- and 2 more\na \(1\)"
    ):
        problems.refuse(tmp_path)


def test_training_images_among_the_test_images_are_named(tiny):
    (tiny.images / "test_images" / "t01.png").write_bytes((tiny.images / "images" / "i04.png").read_bytes())
    code, said = prepare(tiny)
    assert code == 0
    assert "note: 1 of 4 test images are training images: 't01' is 'i04'." in said
    config = with_options(tiny, "{classes: {blob: 255}, test_images: images}")
    code, said = prepare(tiny, config)
    assert code == 0
    assert (
        "note: 12 of 12 test images are training images: 'i00' is 'i00', 'i01' is 'i01', 'i02' is 'i02' and 9" in said
    )


def test_identical_images_with_other_masks_and_classes_that_occur_nowhere_are_named(tiny):
    image, mask = tiny.images / "images" / "i03.png", tiny.images / "masks" / "i03.png"
    image.write_bytes((tiny.images / "images" / "i02.png").read_bytes())
    write_png(mask, 255 - cv2.imread(str(mask.with_name("i02.png")), cv2.IMREAD_GRAYSCALE))
    config = with_options(tiny, "{classes: {blob: 255, haze: 77}}")
    code, said = prepare(tiny, config)
    assert code == 0
    assert "note: identical images with different masks: 'i02' and 'i03'. Remove those whose mask is wrong" in said
    assert "no mask has a pixel of class 'haze' (value 77). Is it the right value?" in said


def test_another_sample_than_the_one_that_lies_there_is_named(tiny):
    text = (
        "data: {competition: understanding_clouds, name: demo, folds: {k: 2}, sample: {train: %d, test: 2, height: 64}}"
    )
    assert tiny.run("prepare", tiny.write_config("demo", text % 8), "--sample")[0] == 0
    assert "note" not in prepare(tiny, tiny.config("demo"))[1]
    code, said = prepare(tiny, tiny.write_config("demo", text % 9))
    assert code == 0
    assert "demo: holds the sample of train 8, data.sample of the config asks for train 9" in said


def test_a_wrong_data_folder_is_named(tiny, monkeypatch):
    monkeypatch.setenv("SKYFOLD_DATA", str(tiny.root / "nowhere"))
    for command in ("prepare", "train", "submit"):
        before = tiny.files()
        code, _, err = tiny.run(command, "blend" if command == "submit" else "bright")
        assert code == 2
        assert f"$SKYFOLD_DATA is {tiny.root / 'nowhere'}: no such folder. Correct it, or unset it" in err
        assert tiny.files() == before
    monkeypatch.setenv("SKYFOLD_DATA", str(tiny.root))
    tiny.images.rename(tiny.root / "moved")
    for command in ("prepare", "train"):
        code, _, err = tiny.run(command, "bright")
        assert code == 2
        assert f"$SKYFOLD_DATA is {tiny.root}, which holds no folder 'tiny'" in err


def test_a_chain_of_near_duplicates_names_what_was_joined_and_the_option(tiny):
    base = cv2.imread(str(tiny.images / "images" / "i00.png"))
    for i in range(12):
        changed = base.copy()
        changed[i, i] += 1
        write_png(tiny.images / "images" / f"i{i:02d}.png", changed)
    config = with_options(tiny, "{classes: {blob: 255}}")
    before = tiny.files()
    code, said = prepare(tiny, config)
    assert code == 2
    assert "2 folds were asked for, but the images form only 1 group." in said
    assert "'i00', 'i01', 'i02' and 9 more are one group" in said
    assert "Set data.folds.phash_max_distance below 3, to compare more closely, or to -1, to join none." in said
    assert tiny.files() == before
    config.write_text(config.read_text().replace("folds: {k: 2}", "folds: {k: 2, phash_max_distance: -1}"))
    assert prepare(tiny, config)[0] == 0


def test_files_of_radar_frames_are_listed_by_kind(tmp_path):
    for part, frames in (("train", 5), ("test", 4)):
        (tmp_path / part).mkdir()
        for i in range(3):
            np.save(tmp_path / part / f"{part}_{i}.npy", np.full((120, 120, frames), 3000 * (i + 1), np.int16))
    (tmp_path / "train" / "train_1.npy").write_bytes(b"")
    np.save(tmp_path / "test" / "test_0.npy", np.zeros((9, 9, 4)))
    (tmp_path / "test" / "more.npz").touch()
    (tmp_path / "sample_submission.csv").write_text("file_name,0\ntest_0.npy,0\ntest_9.npy,0\n")
    with pytest.raises(DataLayoutError) as error:
        build("hydro_rain", {}, tmp_path).check(tmp_path)
    for part in (
        "files that cannot be read (2):",
        "train_1.npy: not a complete .npy file",
        "test_0.npy: shape (9, 9, 4)",
        "files without a row (2):",
        "no row for 'test_1.npy'",
        "rows without a file (1):",
        "row 'test_9.npy', but no such file in test/",
    ):
        assert part in str(error.value), part


def test_files_of_ice_frames_are_listed_with_the_gaps_between_them(tmp_path, capsys):
    header, cells = bytes(300), bytes(56 * 38)
    for month in (1, 2, 3, 5, 6):
        (tmp_path / f"nt_2000{month:02d}_f13_v1.1_n.bin").write_bytes(header + cells)
    (tmp_path / "nt_200006_f13_v1.1_n.bin").write_bytes(b"cut")
    (tmp_path / "new.hdf").touch()
    contest = build("arctic_sea_ice", {"grid": [56, 38]}, tmp_path)
    with pytest.raises(DataLayoutError) as error:
        contest.check(tmp_path)
    for part in ("files that cannot be read (1):", "nt_200006_f13_v1.1_n.bin: 3 bytes", "2000-04 is missing: 2000-05"):
        assert part in str(error.value), part


def test_test_images_of_another_size_are_named(tiny):
    (tiny.oof / "folds.csv").unlink()
    path = tiny.images / "test_images" / "t02.png"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (24, 20)))
    code, _, err = tiny.run("prepare", "bright")
    assert code == 0
    assert "1 of 4 test images are not 40x48 like most: t02.png (20x24). Their masks are submitted on the grid" in err


def test_what_is_left_aside_is_named_beside_the_problems(tiny):
    (tiny.images / "images" / "more").mkdir()
    (tiny.images / "images" / "i02.png").rename(tiny.images / "images" / "more" / "i02.png")
    code, _, err = tiny.run("prepare", "bright")
    assert (code, "left aside 1 folder (more)" in err, "i02.png: no image for this mask" in err) == (2, True, True)
