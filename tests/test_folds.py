"""Folds are balanced, whole by group, the same on every machine, and survive the file they are kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import ConfigError, DataLayoutError
from skyfold.store.folds import Folds, folds_of_years, make_folds, read_folds, write_folds


def some_labels(n: int, rates: list[float], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, len(rates))) < np.array(rates)


def names(n: int) -> np.ndarray:
    return np.array([f"{i:04d}.jpg" for i in range(n)])


def rate_spread(fold: np.ndarray, labels: np.ndarray) -> float:
    """The largest difference, over the labels, between the highest and lowest rate of any two folds."""
    rates = np.array([labels[fold == f].mean(axis=0) for f in range(fold.max() + 1)])
    return float((rates.max(axis=0) - rates.min(axis=0)).max())


def test_labels_are_balanced_better_than_by_plain_kfold() -> None:
    labels = some_labels(200, [0.5, 0.43, 0.1, 0.03])
    folds = make_folds(ids=names(200), labels=labels, groups=np.arange(200), k=5, seed=0)
    plain = [rate_spread(np.random.default_rng(seed).permutation(200) % 5, labels) for seed in range(20)]
    assert np.bincount(folds.fold).tolist() == [40] * 5
    assert rate_spread(folds.fold, labels) <= 2 / 40
    assert rate_spread(folds.fold, labels) < min(plain)


def test_sizes_of_single_samples_differ_by_one_and_more_folds_than_groups_are_refused() -> None:
    folds = make_folds(ids=names(23), labels=some_labels(23, [0.9, 0.2]), groups=np.arange(23), k=5, seed=1)
    assert sorted(np.bincount(folds.fold)) == [4, 4, 5, 5, 5]
    with pytest.raises(ConfigError, match="groups: 2"):
        make_folds(ids=names(6), labels=np.zeros((6, 0), bool), groups=np.arange(6) % 2, k=3, seed=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 5), st.integers(6, 60), st.integers(0, 3))
def test_groups_never_straddle_and_every_fold_is_used(seed: int, k: int, n: int, label_count: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, max(k, n // 3), n)
    groups[:k] = np.arange(k)
    labels = some_labels(n, [0.3] * label_count, seed)
    folds = make_folds(ids=names(n), labels=labels, groups=groups, k=k, seed=seed)
    assert all(len(set(folds.fold[groups == group])) == 1 for group in set(groups))
    assert set(folds.fold) == set(range(k))


def test_groups_keep_all_labels_balanced() -> None:
    labels, groups = some_labels(1000, [0.5, 0.43, 0.53, 0.67]), np.random.default_rng(1).integers(0, 120, 1000)
    folds = make_folds(ids=names(1000), labels=labels, groups=groups, k=5, seed=0)
    whole_groups = [np.random.default_rng(seed).permutation(120)[groups] % 5 for seed in range(20)]
    assert np.ptp(np.bincount(folds.fold)) <= 4
    assert rate_spread(folds.fold, labels) <= 0.05  # 10 of 200 samples; at random 0.06 to 0.16
    assert rate_spread(folds.fold, labels) < min(rate_spread(fold, labels) for fold in whole_groups)


def test_large_groups_go_first_so_that_small_ones_fill_up_the_rest() -> None:
    groups = np.concatenate([np.arange(14), np.full(8, 99), np.full(8, 98)])
    for seed in range(5):
        folds = make_folds(ids=names(30), labels=np.ones((30, 1), bool), groups=groups, k=3, seed=seed)
        assert np.bincount(folds.fold).tolist() == [10, 10, 10]


def test_folds_depend_on_ids_and_the_seed_and_not_on_the_order_of_rows_or_the_names_of_groups() -> None:
    ids, labels, groups = names(60), some_labels(60, [0.5, 0.2]), np.arange(60) // 2
    shuffled = np.random.default_rng(3).permutation(60)
    folds = make_folds(ids=ids, labels=labels, groups=groups, k=3, seed=7)
    other = make_folds(ids=ids[shuffled], labels=labels[shuffled], groups=groups[shuffled], k=3, seed=7)
    assert np.array_equal(folds.fold[shuffled], other.fold)
    assert folds.hash() == other.hash()
    assert np.array_equal(folds.fold, make_folds(ids=ids, labels=labels, groups=100 - groups, k=3, seed=7).fold)
    assert folds.hash() != make_folds(ids=ids, labels=labels, groups=groups, k=3, seed=8).hash()


def test_a_split_fits_on_what_it_does_not_validate_and_on_rows_never_validated() -> None:
    folds = Folds(ids=names(5), fold=np.array([0, 1, -1, 0, 1]), groups=np.arange(5))
    assert folds.k == 2
    assert folds.split(0).valid.tolist() == [0, 3]
    assert folds.split(0).train.tolist() == [1, 2, 4]


def test_written_folds_are_read_back(tmp_path: Path) -> None:
    months = np.datetime64("2020-10") + np.arange(9)
    for folds in (
        folds_of_years(ids=names(9), times=months, years=(2020, 2021), gap=np.timedelta64(1, "M")),
        folds_of_years(ids=names(9), times=months, years=(2021, 2021), gap=np.timedelta64(1, "M")),
        make_folds(ids=names(9), labels=some_labels(9, [0.5]), groups=np.arange(9) // 2, k=2, seed=0),
    ):
        write_folds(tmp_path / "folds.csv", folds)
        again = read_folds(tmp_path / "folds.csv")
        assert again.hash() == folds.hash()
        assert [again.split(fold).train.tolist() for fold in range(folds.k)] == [
            folds.split(fold).train.tolist() for fold in range(folds.k)
        ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,fold,group\na,0,0\n,1,1\n", "line 3: the id is missing"),
        ("id,fold,group\na,0,0\na,1,1\n", "line 3: id 'a' is listed 2 times"),
        ("id,fold,group\na,0.5,0\nb,1,1\n", "line 2: fold '0.5' of id 'a'"),
        ("id,fold,group\na,-2,0\nb,0,1\n", "line 2: fold '-2'"),
        ("id,fold,group\na,0,0\nb,2,1\nc,2,1\n", "fold 1 validates no sample"),
        ("id,fold,group\na,0\nb,1,1\n", r"line 2 \('a'\): expected 3 fields .* got 2"),
        ("id,fold\na,0\n", "expected the columns id,fold,group"),
        ("id,fold,group\n", "no rows"),
        ("id,fold,group\na,0,0\nb,99999999999999999999,1\n", "line 3: fold '99999999999999999999' of id 'b'"),
        ("", r"the file is empty. .*run `skyfold prepare` again"),
        (
            "id,fold,group,time,trained_before\na,-1,0,1979-13,\nb,0,1,1981-01,1980-02\n",
            "line 2: '1979-13' of id 'a' is",
        ),
        (
            "id,fold,group,time,trained_before\na,-1,0,1979-12,\nb,0,1,1981-01,soon\n",
            "line 3: 'soon' of id 'b' is not a",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(text)
    with pytest.raises(DataLayoutError, match=message):
        read_folds(path)


def test_a_file_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_bytes(b"\xef\xbb\xbfid,fold,group\r\na,0,0\r\nb,1,1\r\n")
    assert read_folds(tmp_path / "folds.csv").ids.tolist() == ["a", "b"]


def test_what_is_no_csv_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe")
    (tmp_path / "folder.csv").mkdir()
    for name, message in (
        ("folds.csv", r"folds\.csv: not a readable CSV file: .*`skyfold prepare`"),
        ("folder.csv", r"folder\.csv: a folder, expected a CSV file"),
        ("nowhere.csv", r"nowhere\.csv: no such file.*skyfold prepare"),
    ):
        with pytest.raises(DataLayoutError, match=message):
            read_folds(tmp_path / name)
