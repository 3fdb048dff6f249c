"""Image and mask files as people have them: what is no measurement, or would be read in another way, is not read."""

from __future__ import annotations

import os
import struct
import unicodedata
import zlib
from io import BytesIO, TextIOWrapper

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from faults.conftest import write_png
from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.data.images import ImageFiles, read_header, read_image
from skyfold.data.masks import ClassTable, MaskFiles, RleMasks
from skyfold.data.tiff import read_tiff
from skyfold.errors import DataLayoutError
from skyfold.rle.codec import encode


def prepare(tiny):
    """Exit code and all that `prepare` says, progress aside; what lies in the project stays as it is."""
    before = tiny.files()
    code, out, err = tiny.run("prepare", "bright")
    assert tiny.files() == before
    return code, out + "".join(line for line in err.splitlines(True) if "images/s" not in line)


def refused(tiny, *parts):
    code, said = prepare(tiny)
    assert code == 2
    for part in parts:
        assert part in said


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def with_alpha(path, alpha):
    write_png(path, np.dstack([cv2.imread(str(path)), alpha]))


def test_files_of_other_kinds_are_named_wherever_a_folder_is_listed(tiny):
    for folder, names in {
        "images": ("x.gif", "y.gif", "notes.txt"),
        "masks": ("x.gif",),
        "test_images": ("z.psd",),
    }.items():
        for name in names:
            (tiny.images / folder / name).write_bytes(b"GIF8")
    (tiny.images / "images" / "more").mkdir()
    (tiny.images / "images" / ".DS_Store").touch()
    code, said = prepare(tiny)
    assert code == 0
    assert "12 images with masks" in said
    assert (
        "images: left aside 2 .gif (x.gif, y.gif), 1 .txt (notes.txt), 1 folder (more), 1 hidden file (.DS_Store); "
        "read as images are .jpg" in said
    )
    assert "masks: left aside 1 .gif (x.gif)" in said
    assert "test_images: left aside 1 .psd (z.psd)" in said
    for name in ("t00", "t01", "t02", "t03"):
        (tiny.root / "truth").mkdir(exist_ok=True)
        write_png(tiny.root / "truth" / f"{name}.png", np.zeros((40, 48), np.uint8))
    (tiny.root / "truth" / "t04.gif").touch()
    submission = tiny.root / "submissions" / "tiny" / "blend.csv"
    code, _, err = tiny.run("score", "blend", submission, "--truth", tiny.root / "truth")
    assert code == 0
    assert "truth: left aside 1 .gif (t04.gif)" in err


def test_a_mask_of_another_kind_is_named_beside_the_image_that_lacks_it(tiny):
    (tiny.images / "masks" / "i03.png").rename(tiny.images / "masks" / "i03.gif")
    refused(tiny, "i03.png: no mask 'i03.png' for this image; i03.gif is not read, write it as PNG")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_two_unicode_forms_are_one_name(tiny, form):
    for folder, other in (("images", form), ("masks", "NFC" if form == "NFD" else "NFD")):
        for i, name in ((0, "caf\u00e9"), (1, "\ud55c\uad6d")):
            new = unicodedata.normalize(other, name)
            (tiny.images / folder / f"i{i:02d}.png").rename(tiny.images / folder / f"{new}.png")
    samples = build("mask_folder", {"classes": {"blob": 255}}, tiny.images).load(tiny.images, "train")
    assert set(samples.ids) >= {"caf\u00e9", "\ud55c\uad6d"}
    for i, name in enumerate(samples.ids):
        mask = next(
            path for path in (tiny.images / "masks").iterdir() if unicodedata.normalize("NFC", path.stem) == name
        )
        np.testing.assert_array_equal(samples.targets[i][..., 0], read(mask) == 255)
    twin = "cafe\u0301" if form == "NFC" else "caf\u00e9"
    write_png(tiny.images / "images" / f"{twin}.png", np.zeros((40, 48, 3), np.uint8))
    refused(tiny, "two files of one id. Keep one")


@pytest.mark.parametrize("name", ["\udcff.png", "a\x1b[31m.png", " a.png", "a .png", "a\u202e.png"])
def test_names_that_no_table_or_terminal_can_hold_are_refused(tiny, name):
    for folder in ("images", "masks"):
        (tiny.images / folder / "i00.png").rename(tiny.images / folder / name)
    code, said = prepare(tiny)
    assert code == 2
    assert (
        "the name has bytes that are no UTF-8, characters that cannot be shown, or blanks around it. Rename it" in said
    )
    assert not set(said) & {"\x1b", "\u202e", "\udcff"}
    assert tiny.run("train", "bright")[0] == 2


def test_a_folder_whose_name_is_no_utf8_is_shown_as_bytes(tiny, monkeypatch):
    folder = tiny.root / "data" / "na\udcffme"
    tiny.images.rename(folder)
    written = TextIOWrapper(BytesIO(), encoding="utf-8")
    monkeypatch.setattr("sys.stdout", written)
    assert main(["prepare", str(tiny.config("bright")), "--data", str(folder), "--root", str(tiny.root)]) == 0
    (folder / "images" / "i00.png").unlink()
    code, _, err = tiny.run("prepare", "bright", "--data", folder)
    assert code == 2
    assert r"na\xffme" in err


def test_what_is_no_file_is_refused_instead_of_waited_for(tiny):
    os.mkfifo(tiny.images / "images" / "pipe.png")
    (tiny.images / "images" / "folder.png").mkdir()
    (tiny.images / "masks" / "loop.png").symlink_to(tiny.images / "masks" / "loop.png")
    (tiny.images / "masks" / "gone.png").symlink_to("nowhere.png")
    (tiny.images / "images" / "again").symlink_to(tiny.images / "images")
    refused(
        tiny,
        "pipe.png: a pipe or device, expected a file",
        "folder.png: a folder, expected a file",
        "loop.png: cannot be read (Too many levels of symbolic links)",
        "gone.png: a link to a file that is not there",
    )
    (tiny.images / "groups.csv").symlink_to("groups.csv")


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_that_a_tag_turns_is_refused_till_the_config_says_what_masks_do(tiny, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    square = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    for i in range(12):
        for folder, image in (("images", square + np.uint8(i)), ("masks", square[..., 0] // 128 * 255)):
            (tiny.images / folder / f"i{i:02d}.png").unlink()
            write_png(tiny.images / folder / f"s{i:02d}.png", image)
    (tiny.images / "images" / "s03.png").unlink()
    Image.fromarray(square).save(tiny.images / "images" / f"s03{suffix}", exif=exif)
    config = tiny.write_config("square", tiny.config("bright").read_text().replace("name: tiny", "name: square"))
    for command in ("prepare", "train"):
        code, _, err = tiny.run(command, config, "--data", tiny.images)
        assert code == 2
        assert f"s03{suffix}: an EXIF tag turns it (orientation {orientation}), and no mask turns with it. Set" in err
    Image.fromarray(square[..., 0] // 128 * 255).save(tiny.images / "masks" / "s04.png", exif=exif)
    read = {}
    for way, expected in (("apply", 2), ("ignore", 0)):
        text = config.read_text().replace("name: square", f"name: {way}")
        other = tiny.write_config(
            way, text.replace("options: {classes", f"options: {{images: {{orientation: {way}}}, classes")
        )
        code, _, err = tiny.run("prepare", other, "--data", tiny.images)
        assert code == expected
        turned = f"note: an EXIF tag turns 1 images when they are read, but no masks: {tiny.images}"
        assert (turned in err) == (way == "apply")
        assert ("s04.png: 40x40 pixels, its mask 40x40 (an EXIF tag turns it; turn both or none)" in err) == bool(
            expected
        )
        read[way] = ImageFiles([tiny.images / "images" / f"s03{suffix}"], turn=way == "apply")[0].astype(int)
    assert np.abs(read["ignore"] - square).mean() < np.abs(read["apply"] - square).mean() - 20


def test_transparent_pixels_are_refused_and_an_opaque_alpha_band_is_read(tiny):
    image, mask = tiny.images / "images" / "i00.png", tiny.images / "masks" / "i00.png"
    opaque = np.full((40, 48), 255, np.uint8)
    stored = read(image)
    with_alpha(image, opaque)
    with_alpha(mask, opaque)
    samples = build("mask_folder", {"classes": {"blob": 255}}, tiny.images).load(tiny.images, "train")
    np.testing.assert_array_equal(samples.inputs[0], stored[..., ::-1])
    half = opaque.copy()
    half[:, :24] = 0
    with_alpha(image, half)
    write_png(mask, np.dstack([np.zeros((40, 48, 3), np.uint8), half]))
    refused(
        tiny,
        "files with transparent pixels (2):",
        "images/i00.png: 50.0% of the pixels are transparent",
        "masks/i00.png: 50.0% of the pixels are transparent",
        "Write the file without transparency",
    )
    code, _, err = tiny.run("train", "bright", "--restart")
    assert code == 2
    assert "i00.png: 50.0% of the pixels are transparent" in err


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB"])
def test_transparency_of_every_kind_of_png_is_seen(tiny, mode):
    grey = np.zeros((40, 48), np.uint8)
    grey[:, 24:] = 9
    if mode == "LA":
        Image.fromarray(np.dstack([grey, np.where(grey, 255, 0).astype(np.uint8)])).save(
            tiny.images / "images" / "i01.png"
        )
    else:
        image = Image.fromarray(np.dstack([grey] * 3) if mode == "RGB" else grey)
        image = image.quantize(4) if mode == "P" else image
        clear = {"L": 0, "RGB": (0, 0, 0), "P": int(np.array(image).flat[0])}[mode]
        image.save(tiny.images / "images" / "i01.png", transparency=clear)
    refused(tiny, "i01.png: 50.0% of the pixels are transparent")


def test_a_jpeg_that_is_damaged_inside_is_refused_although_it_decodes(tiny):
    path = tiny.images / "images" / "i02.jpg"
    noise = np.random.default_rng(1).integers(0, 255, (40, 48, 3), np.uint8)
    Image.fromarray(noise).save(path, quality=95)
    (tiny.images / "images" / "i02.png").unlink()
    whole = path.read_bytes()
    scan = whole.rindex(b"\xff\xda")
    middle = (scan + len(whole)) // 2
    path.write_bytes(whole[:middle] + whole[middle + 40 :])
    assert cv2.imread(str(path)) is not None
    refused(tiny, "i02.jpg: the JPEG is damaged (Corrupt JPEG data", "Download it again")


def test_a_tiff_of_two_pages_is_refused_and_its_overviews_are_left_out(tmp_path):
    contest = build("leeds_sea_ice")
    contest.write_sample(tmp_path / "leeds", train=4, test=2)
    path = min((tmp_path / "leeds" / "train").glob("*_sar.tiff"))
    page = read_tiff(path)
    with tifffile.TiffWriter(path) as file:
        file.write(page, photometric="minisblack")
        file.write(page[::2, ::2], photometric="minisblack", subfiletype=1)
    contest.check(tmp_path / "leeds")
    with tifffile.TiffWriter(path) as file:
        file.write(page, photometric="minisblack")
        file.write(page, photometric="minisblack")
    rows, columns = page.shape
    expected = rf"(?s)TIFFs of several pages \(1\):.*{path.name}: a TIFF of 2 pages: .*page 2 of {rows}x{columns}\."
    with pytest.raises(DataLayoutError, match=expected):
        contest.check(tmp_path / "leeds")


def test_the_header_of_a_scene_of_any_number_of_pixels_is_read(tmp_path):
    path = tmp_path / "huge.png"
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(100)), b"IEND"]
    written = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    assert read_header(path).size == (30_000, 40_000)
    with pytest.raises(DataLayoutError, match=r"huge\.png: 30000x40000 pixels, more than .* Cut it into"):
        read_image(path)


@pytest.mark.parametrize("edge", range(1048, 1056))
def test_truth_lies_within_an_eighth_of_a_pixel_of_where_it_was_drawn(tmp_path, edge):
    mask = np.zeros((1400, 2100), bool)
    mask[:, edge:] = True
    text = np.array([[encode(mask)]], dtype=object)
    of_table = RleMasks(text, tmp_path / "t.csv", np.array([["a"]]), drawn_at=(1400, 2100), grid=(350, 525))
    write_png(tmp_path / "a.png", 255 * mask.astype(np.uint8))
    table = ClassTable.parse({"a": 255}, background=0, ignore_value=None)
    of_file = MaskFiles([tmp_path / "a.png"], table, (350, 525))
    for drawn in (of_table[0], of_file[0]):
        # the edge can only lie between two pixels: at best half a pixel off, and an eighth more is allowed
        assert abs(525 - drawn[0].sum() - edge / 4) <= 0.5 + 1 / 8


def test_truth_is_off_by_no_more_than_an_eighth_of_a_pixel_on_average(tmp_path):
    offsets = []
    for edge in range(1048, 1056):
        mask = np.zeros((4, 2100), bool)
        mask[:, edge:] = True
        text = np.array([[encode(mask)]], dtype=object)
        drawn = RleMasks(text, tmp_path / "t.csv", np.array([["a"]]), drawn_at=(4, 2100), grid=(1, 525))[0]
        offsets.append(525 - drawn[0].sum() - edge / 4)
    assert abs(np.mean(offsets)) <= 1 / 8
