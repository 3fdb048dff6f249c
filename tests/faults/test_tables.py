"""Tables that people bring: what spreadsheets and other systems do to them is mended, or named by file and line."""

from __future__ import annotations

import gzip
import os
import unicodedata

import numpy as np
import pytest

from skyfold.competition import build
from skyfold.errors import DataLayoutError, InvalidSubmission
from skyfold.rle.codec import DIALECTS
from skyfold.submission.formats import RleTable
from skyfold.tables import LONGEST_CELL

GROUPED = """
data:
  competition: mask_folder
  name: grouped
  options: {classes: {blob: 255}, group: {file: groups.csv, id: id, column: place}}
  folds: {k: 2}
"""
ROWS = "".join(f"i{i:02d},place {i // 2}\n" for i in range(12))


def prepare_with(tiny, table):
    """Prepare the images with `table` as their table of groups, in a data set of its own."""
    (tiny.images / "groups.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    config = tiny.write_config("grouped", GROUPED)
    return tiny.run("prepare", config, "--data", tiny.images)


@pytest.fixture
def truth(tiny):
    """The test truth as a table of run-length text: the submission itself."""
    path = tiny.root / "truth.csv"
    path.write_bytes((tiny.root / "submissions" / "tiny" / "blend.csv").read_bytes())
    return path


def score(tiny, truth):
    return tiny.run("score", "blend", tiny.root / "submissions" / "tiny" / "blend.csv", "--truth", truth)


def test_blanks_around_names_and_fields_are_left_out(tiny, truth):
    assert prepare_with(tiny, "id, place\n" + ROWS.replace(",", " , "))[0] == 0
    perfect = score(tiny, truth)[1]
    header, *lines = truth.read_text().splitlines()
    truth.write_text("\n".join([header.replace(",", ", "), *(f" {line} " for line in lines)]))
    assert score(tiny, truth)[1] == perfect


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_named_whoever_reads_the_table(tiny, truth, separator):
    code, _, err = prepare_with(tiny, ("id,place\n" + ROWS).replace(",", separator))
    assert code == 2
    assert "groups.csv: the header is parted by" in err
    assert "Save the table with commas" in err
    for table, command in [
        (truth, lambda: score(tiny, truth)),
        (tiny.oof / "folds.csv", lambda: tiny.run("train", "bright")),
    ]:
        table.write_text(table.read_text().replace(",", separator))
        before = tiny.files()
        code, _, err = command()
        assert code == (3 if table.name == "folds.csv" else 2)
        assert f"{table}: the header is parted by" in err
        assert tiny.files() == before


def test_text_of_another_encoding_is_named_with_its_line_and_how_to_save_it(tiny, truth):
    korean = ("id,place\n" + ROWS.replace("place 3", "부산")).encode("cp949")
    for table in (korean, gzip.compress(korean)):
        name = "groups.csv.gz" if table[:2] == b"\x1f\x8b" else "groups.csv"
        (tiny.images / name).write_bytes(table)
        config = tiny.write_config(
            "grouped", GROUPED.replace("groups.csv", name).replace("name: grouped", "name: other")
        )
        before = tiny.files()
        code, _, err = tiny.run("prepare", config, "--data", tiny.images)
        assert code == 2
        assert f"{name}: not a readable CSV file: line 8 is not UTF-8 text" in err
        assert "iconv -f ENCODING -t UTF-8" in err
        assert tiny.files() == before
    truth.write_bytes(truth.read_text().encode("utf-16"))
    code, _, err = score(tiny, truth)
    assert code == 2
    assert "truth.csv: not a readable CSV file: the text is UTF-16, expected UTF-8" in err


def test_names_in_another_unicode_form_are_the_same_names(tiny):
    for folder in ("images", "masks"):
        os.rename(tiny.images / folder / "i00.png", tiny.images / folder / "caf\u00e9.png")
    table = "id,place\n" + ROWS.replace("i00", unicodedata.normalize("NFD", "caf\u00e9"))
    code, out, _ = prepare_with(tiny, table)
    assert code == 0
    assert "6 groups" in out


def test_a_cell_that_a_spreadsheet_cut_is_refused_and_a_whole_one_of_that_length_read(tmp_path):
    table, path = RleTable(("a",), (200, 400), bare_ids=True, key_column="id"), tmp_path / "t.csv"
    text = " ".join(f"{start} 1" for start in range(10_001, 60_001, 2))
    assert text[LONGEST_CELL - 1].isdigit()
    for cell in (text[:LONGEST_CELL], f"{text[: LONGEST_CELL - 1]}1"):
        path.write_text(f"id,EncodedPixels\nx,1 1\ny,{cell}\n")
        with pytest.raises(InvalidSubmission, match=r"t\.csv: line 3 \('y'\): column 'EncodedPixels' has 32,767 char"):
            table.read_masks(path)
    whole = " ".join(text[:LONGEST_CELL].split()[:-2]).ljust(LONGEST_CELL + 1)
    path.write_text(f"id,EncodedPixels\nx,1 1\ny,{whole}\n")
    assert table.read_masks(path)[0].tolist() == ["x", "y"]


def test_digits_of_other_scripts_are_not_numbers(tiny, truth):
    header, first, *rest = truth.read_text().splitlines()
    key, _, text = first.partition(",")
    wide = text.translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)})
    truth.write_text("\n".join([header, f"{key},{wide}", *rest]))
    code, _, err = score(tiny, truth)
    assert code == 2
    assert f"line 2: row '{key}': token 1 is" in err
    folds = tiny.oof / "folds.csv"
    folds.write_text(folds.read_text().replace(",1,", ",\uff11,"))
    code, _, err = tiny.run("train", "bright")
    assert code == 3
    assert "folds.csv: mend these rows" in err
    assert "is not a whole number" in err


def test_a_pipe_in_the_place_of_a_table_is_refused_instead_of_waited_for(tiny, truth):
    truth.unlink()
    os.mkfifo(truth)
    code, _, err = score(tiny, truth)
    assert code == 2
    assert "truth.csv: a pipe or device, expected a CSV file. Rename or remove it" in err


def test_what_a_terminal_would_obey_is_shown_as_an_escape(tiny, truth):
    truth.write_text(truth.read_text().replace("t00_blob", "\x1b]0;owned\x07_blob"))
    code, _, err = score(tiny, truth)
    assert code == 2
    assert "\x1b" not in err
    assert r"\x1b]0;owned\x07_blob" in err


def test_a_table_that_counts_from_zero_is_named(tmp_path, capsys):
    table, path = RleTable(("a",), (40, 60), bare_ids=True, key_column="id"), tmp_path / "t.csv"
    masks = np.zeros((2, 40, 60, 1), bool)
    masks[0, :20, :30] = True
    masks[1, :20, 10:30] = True
    for first, (start, _) in enumerate(((0, 30), (1, 20))):
        texts = [text.split() for text in table.encode(np.array(["x", "y"]), masks)["EncodedPixels"]]
        from_zero = [[str(int(n) - 1) if i % 2 == 0 else n for i, n in enumerate(text)] for text in texts]
        rows = [f"{name},{' '.join(text)}" for name, text in zip("xy", from_zero, strict=True)][first:]
        path.write_text("\n".join(["id,EncodedPixels", *rows]))
        if start == 0:
            with pytest.raises(InvalidSubmission, match=r"1 masks are right only if the first pixel has the number 0"):
                table.read_masks(path)
        else:  # no mask has the first pixel, so that every row could be right
            table.read_masks(path)
            assert "t.csv: 20 segments begin with the last pixel of a column" in capsys.readouterr().err
    table.encode(np.array(["x", "y"]), masks).to_csv(path, index=False)
    table.read_masks(path)
    assert capsys.readouterr().err == ""


def test_run_length_text_that_is_damaged_after_prepare_names_its_table(tmp_path):
    build("understanding_clouds").write_sample(tmp_path / "clouds", train=4, test=2, height=64)
    path = tmp_path / "clouds" / "train.csv"
    header, first, *rest = path.read_text().splitlines()
    key = first.partition(",")[0]
    path.write_text("\n".join([header, f"{key},9999999 1", *rest]))
    samples = build("understanding_clouds", {}, tmp_path / "clouds").load(tmp_path / "clouds", "train")
    row = samples.ids.tolist().index(key.rpartition("_")[0])
    with pytest.raises(DataLayoutError, match=rf"train\.csv: row '{key}': the segment '9999999 1' .* ends past"):
        samples.targets[row]


def test_a_dialect_cannot_take_other_digits_for_an_empty_mask():
    assert not DIALECTS["kaggle_one_zero"].reads_as_empty("\uff11 \uff10")
