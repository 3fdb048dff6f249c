"""Images are decoded as they are meant, and a file that is not whole is never read as if it were."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from skyfold.data import check_images as check
from skyfold.data.check_images import check_images
from skyfold.data.images import ImageFiles, image_paths, read_header, read_image, resize
from skyfold.data.mask_planes import read_plane
from skyfold.errors import DataLayoutError, Problems


def picture(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth enough that a JPEG keeps it, uneven enough that a flip or a swap of bands shows."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def saved(path: Path, image: np.ndarray, **options: object) -> Path:
    Image.fromarray(image).save(path, **options)
    return path


def test_files_are_read_as_rgb(tmp_path: Path) -> None:
    image = picture()
    assert np.array_equal(ImageFiles([saved(tmp_path / "a.png", image)])[0], image)
    jpeg = read_image(saved(tmp_path / "a.jpg", image, quality=95))
    assert np.abs(jpeg.astype(int) - image).mean() < 5


def test_grey_is_repeated_palettes_are_looked_up_and_alpha_is_left_out(tmp_path: Path) -> None:
    grey, rgb = picture()[..., 0], picture()
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(rgb).quantize(16).save(tmp_path / "palette.png")
    rgba = np.dstack([rgb, grey])
    saved(tmp_path / "alpha.png", rgba)
    saved(tmp_path / "opaque.png", np.dstack([rgb, np.full_like(grey, 255)]))
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.dstack([grey] * 3))
    expected = np.array(Image.open(tmp_path / "palette.png").convert("RGB"))
    assert np.array_equal(read_image(tmp_path / "palette.png"), expected)
    assert np.array_equal(read_image(tmp_path / "opaque.png"), rgb)
    assert np.array_equal(read_image(tmp_path / "alpha.png", bands=4), rgba)
    assert np.array_equal(read_image(tmp_path / "grey.png", bands=1), grey[..., None])
    with pytest.raises(DataLayoutError, match="expected 1 bands, the file has 3"):
        read_image(tmp_path / "palette.png", bands=1)


@pytest.mark.parametrize("size", [(64, 48), (16, 12)])
def test_exif_rotation_is_applied_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    image, exif = picture(48, 64), Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    path = saved(tmp_path / "turned.jpg", image, exif=exif, quality=95)
    assert read_header(path).size == (64, 48)
    assert read_header(path).turned
    expected = resize(np.ascontiguousarray(np.rot90(image, -1)), size)
    assert np.abs(ImageFiles([path]).resized(0, size).astype(int) - expected).mean() < 5


@pytest.mark.parametrize("size", [(8, 12), (17, 30), (100, 150), (128, 192), (300, 400), (256, 384)])
def test_the_reduced_decoder_agrees_with_plain_area_averaging(tmp_path: Path, size: tuple[int, int]) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (256, 384, 3)).astype(np.uint8)
    files = ImageFiles([saved(tmp_path / "a.jpg", noisy, quality=95)])
    quick, plain = files.resized(0, size).astype(int), resize(files[0], size).astype(int)
    assert quick.shape == (*size, 3)
    assert np.abs(quick - plain).mean() < 1.5


def test_a_header_is_read_again_where_its_file_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 3)).save(path)
    assert read_header(path).size == (3, 4)
    with monkeypatch.context() as patch:
        patch.setattr("skyfold.data.images._read_header", None)
        assert read_header(path).size == (3, 4)
    Image.new("RGB", (6, 5)).save(path)
    assert read_header(path).size == (5, 6)
    path.unlink()
    with pytest.raises(DataLayoutError, match="no such file"):
        read_header(path)


def test_resizing_averages_areas() -> None:
    image = np.array([[0, 10, 20, 20], [20, 10, 20, 20]], np.uint8)[..., None]
    assert resize(image, (1, 2))[..., 0].tolist() == [[10, 20]]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, suffix: str, kept: float) -> None:
    whole = saved(tmp_path / f"whole{suffix}", picture()).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataLayoutError, match=rf"cut\{suffix}: .*cut short"):
        read_image(path)


def test_bytes_around_the_scans_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    """A thumbnail with an end marker of its own, fill bytes before a marker, and notes after the end."""
    path = saved(tmp_path / "a.jpg", picture())
    image, data = read_image(path), path.read_bytes()
    thumbnail = data[:2] + b"\xff\xfe" + (2 + 4).to_bytes(2, "big") + b"\xff\xd9\xff\xd9" + data[2:]
    for changed in (thumbnail, data[:2] + b"\xff\xff" + data[2:], data + b"\0\0camera maker's own notes"):
        path.write_bytes(changed)
        assert np.array_equal(read_image(path), image)
    path.write_bytes(thumbnail[:-40])
    with pytest.raises(DataLayoutError, match="cut short"):
        read_image(path)


def test_a_changed_byte_in_a_png_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", picture())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataLayoutError, match="checksum of chunk IDAT"):
        read_image(path)


def test_checking_lists_every_broken_file_and_no_whole_one(tmp_path: Path) -> None:
    whole = [saved(tmp_path / "a.jpg", picture()), saved(tmp_path / "grey.jpg", np.full((48, 64, 3), 128, np.uint8))]
    data = saved(tmp_path / "large.jpg", np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)).read_bytes()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "inside.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    broken = [tmp_path / name for name in ("empty.jpg", "inside.jpg", "text.jpg", "gone.jpg")]
    problems = Problems()
    assert list(check_images([*whole, *broken], problems)) == whole
    messages = problems.by_kind["files that cannot be read"]
    assert [message.partition(": ")[0] for message in messages] == list(map(str, broken))
    assert "the JPEG is damaged (Corrupt JPEG data" in messages[1]
    assert "neither JPEG nor PNG" in messages[2]


def test_a_file_that_crashes_the_decoder_is_named_and_the_next_ones_are_read(tmp_path: Path, monkeypatch) -> None:
    crashes = check.DECODER.replace("    image =", "    if b'b.jpg' in line:\n        os.abort()\n    image =", 1)
    monkeypatch.setattr(check, "DECODER", crashes)
    paths = [saved(tmp_path / f"{name}.jpg", picture()) for name in "abcdef"]
    problems = Problems()
    assert list(check_images(paths, problems)) == [paths[0], *paths[2:]]
    [message] = problems.by_kind["files that cannot be read"]
    assert message.startswith(f"{paths[1]}: the JPEG is damaged (the decoder crashed)")


def test_a_palette_mask_is_read_as_places_or_as_colours(tmp_path: Path) -> None:
    places = np.array([[0, 1], [2, 1]], np.uint8)
    mask = Image.fromarray(places, mode="P")
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    mask.save(tmp_path / "mask.png")
    assert np.array_equal(read_plane(tmp_path / "mask.png", colours=False), places)
    assert read_plane(tmp_path / "mask.png", colours=True)[1].tolist() == [[0, 255, 0], [255, 0, 0]]


def test_a_mask_in_colour_has_no_grey_values(tmp_path: Path) -> None:
    grey = picture()[..., 0]
    assert np.array_equal(read_plane(saved(tmp_path / "a.png", np.dstack([grey] * 3)), colours=False), grey)
    with pytest.raises(DataLayoutError, match="#rrggbb"):
        read_plane(saved(tmp_path / "b.png", picture()), colours=False)


def test_the_stamp_changes_with_a_file(tmp_path: Path) -> None:
    files = ImageFiles([saved(tmp_path / "a.png", picture())])
    before = files.fingerprint()
    assert files.fingerprint() == before
    saved(tmp_path / "a.png", picture(seed=1))
    assert files.fingerprint() != before


def test_a_folder_lists_its_images_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    assert [path.name for path in image_paths(tmp_path)] == ["a.JPG", "b.png"]
    (tmp_path / "c.png").mkdir()
    with pytest.raises(DataLayoutError, match=r"c\.png: a folder, expected an image"):
        read_image(tmp_path / "c.png")
    (tmp_path / "b.jpeg").touch()
    with pytest.raises(DataLayoutError, match=r"b\.png beside b\.jpeg"):
        image_paths(tmp_path)
    with pytest.raises(DataLayoutError, match="no such folder"):
        image_paths(tmp_path / "absent")
