"""Streaming over chunks gives what combining whole arrays in float64 gives."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from skyfold.blending import combine as combining
from skyfold.blending.combine import combine
from skyfold.errors import ConfigError, OofMismatch

HOWS = ["mean", "geometric", "rank"]


def whole(arrays, **options):
    """All chunks of `combine` put together, in the order of rows 0, 1, 2, ..."""
    rows, values = zip(*combine(arrays, **options), strict=True)
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(len(arrays[0])))
    return np.concatenate(values)


def reference(arrays, how, weights):
    stored = arrays[0].dtype == np.uint8
    values = [array.astype(np.float64) for array in arrays]
    if how == "mean":
        result = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    elif how == "geometric":
        values = [np.maximum(v, 0.25) for v in values] if stored else values
        result = np.prod([v ** (w / sum(weights)) for w, v in zip(weights, values, strict=True)], axis=0)
    else:
        columns = [v.reshape(-1, v.shape[-1]) for v in values]
        ranks = [((rankdata(c, axis=0) - 0.5) / len(c)).reshape(arrays[0].shape) for c in columns]
        result = sum(w * r for w, r in zip(weights, ranks, strict=True)) / sum(weights)
        result = 255 * result if stored else result
    return result


@st.composite
def ensembles(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(*(st.integers(1, limit) for limit in (6, 4, 4, 3))))
    models = draw(st.integers(1, 5))
    if draw(st.booleans()):
        arrays = [rng.integers(0, draw(st.sampled_from([2, 256])), shape, dtype=np.uint8) for _ in range(models)]
    else:
        arrays = [np.round(rng.random((shape[0], shape[-1])), 1).astype(np.float32) for _ in range(models)]
    weights = draw(st.lists(st.integers(0, 4), min_size=models, max_size=models).filter(any))
    return arrays, [float(w) for w in weights]


@pytest.mark.parametrize("how", HOWS)
@given(case=ensembles(), size=st.sampled_from([1, 40, 4 << 20]))
@settings(deadline=None, max_examples=60)
def test_streaming_equals_float64_on_whole_arrays(how, case, size):
    arrays, weights = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combining, "CHUNK_BYTES", size)
        combined = whole(arrays, how=how, weights=weights)
    expected = reference(arrays, how, weights)
    assert combined.dtype == arrays[0].dtype
    if combined.dtype == np.uint8:
        assert (np.abs(combined - expected) <= 0.5 + 1e-9).all()
    else:
        np.testing.assert_allclose(combined, expected, rtol=1e-6, atol=1e-7)


def test_equal_weights_are_the_default():
    arrays = [np.array([[[[0]]], [[[10]]]], dtype=np.uint8), np.array([[[[5]]], [[[20]]]], dtype=np.uint8)]
    np.testing.assert_array_equal(whole(arrays, how="mean"), whole(arrays, how="mean", weights=[3.0, 3.0]))
    assert whole(arrays, how="mean").ravel().tolist() == [2, 15]  # 2.5 to the even neighbour


def test_one_member_is_unchanged():
    array = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for how in ("mean", "geometric"):
        np.testing.assert_array_equal(whole([array], how=how), array)


def test_a_stored_zero_does_not_veto():
    # Two models: 0 counts as a quarter level, sqrt(0.25 x 255) = 7.98; both 0 stay 0.
    arrays = [np.array([[[[0, 0]]]], dtype=np.uint8), np.array([[[[255, 0]]]], dtype=np.uint8)]
    assert whole(arrays, how="geometric").ravel().tolist() == [8, 0]


def test_a_member_of_weight_zero_does_not_count_even_at_zero():
    arrays = [np.array([[0.0]], dtype=np.float32), np.array([[0.5]], dtype=np.float32)]
    assert whole(arrays, how="geometric", weights=[0.0, 1.0]).item() == 0.5
    assert whole(arrays, how="geometric").item() == 0.0


@given(seed=st.integers(0, 10**6), members=st.integers(1, 30), weighted=st.booleans())
@settings(deadline=None, max_examples=30)
def test_whole_weights_round_bytes_to_the_last_bit_as_float64(seed, members, weighted):
    """Also at the largest sums that fit into 16 bits, and where rows are not contiguous."""
    rng = np.random.default_rng(seed)
    arrays = [rng.choice([0, 1, 127, 128, 254, 255], (3, 1, 500, 1)).astype(np.uint8) for _ in range(members)]
    weights = rng.integers(0, 257 // members + 1, members) if weighted else np.ones(members)
    weights[0] = max(weights[0], 1)
    rows = np.array([2, 0])
    ((_, values),) = combine(arrays, how="mean", weights=weights, rows=rows)
    np.testing.assert_array_equal(values, np.rint(reference([a[rows] for a in arrays], "mean", weights)))


def test_a_vote_is_the_fraction_of_members_above_their_own_threshold():
    arrays = [np.array([[[[10, 200]]]], dtype=np.uint8), np.array([[[[20, 100]]]], dtype=np.uint8)]
    # Class 0: only the second is above its threshold; class 1: both. Half of 255 is 127.5, stored as the even 128.
    assert whole(arrays, how="vote", thresholds=[[10, 150], [19, 99]]).ravel().tolist() == [128, 255]
    assert whole(arrays, how="vote", thresholds=[[10, 150], [19, 99]], weights=[3, 1]).ravel().tolist() == [64, 255]
    floats = [array.astype(np.float32) / 255 for array in arrays]
    assert whole(floats, how="vote", thresholds=[[0.5, 0.5], [0.05, 0.5]]).ravel().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("thresholds", [None, [[1, 2]], [[1, 2], [3, np.nan]]])
def test_a_vote_without_a_threshold_for_each_model_and_class_is_refused(thresholds):
    arrays = [np.zeros((1, 1, 1, 2), dtype=np.uint8)] * 2
    with pytest.raises(ConfigError, match=r"vote needs finite thresholds \(2, 2\)"):
        combine(arrays, how="vote", thresholds=thresholds)


@pytest.mark.parametrize("how", HOWS)
def test_order_of_models_and_scale_of_weights_do_not_matter(how):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (3, 5, 5, 2), dtype=np.uint8) for _ in range(3)]
    one = whole(arrays, how=how, weights=[1, 2, 3])
    np.testing.assert_array_equal(one, whole(arrays[::-1], how=how, weights=[6, 4, 2]))


def test_rank_uses_only_the_order_within_a_member():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 128, (3, 5, 5, 2), dtype=np.uint8)
    np.testing.assert_array_equal(whole([array], how="rank"), whole([2 * array + 1], how="rank"))


def test_rank_is_over_the_chosen_rows_only():
    array = np.array([[0.1], [0.9], [0.2], [0.8]], dtype=np.float32)
    ((rows, values),) = combine([array], how="rank", rows=np.array([1, 3]))
    assert rows.tolist() == [1, 3]
    assert values.ravel().tolist() == [0.75, 0.25]
    stored = (255 * array).astype(np.uint8)[:, None, None]
    ((_, values),) = combine([stored], how="rank", rows=np.array([1, 3]))
    assert values.ravel().tolist() == [191, 64]


def test_memory_maps_are_read_chunk_by_chunk(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (20, 8, 8, 2), dtype=np.uint8) for _ in range(2)]
    for i, array in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
    maps = [np.load(tmp_path / f"{i}.npy", mmap_mode="r", allow_pickle=False) for i in range(2)]
    monkeypatch.setattr(combining, "CHUNK_BYTES", 3 * 8 * 8 * 2)
    chunks = [rows.tolist() for rows, _ in combine(maps, how="mean")]
    assert chunks[0] == [0, 1, 2]
    assert chunks[-1] == [18, 19]
    np.testing.assert_array_equal(whole(maps, how="mean"), whole(arrays, how="mean"))


@pytest.mark.parametrize("how", HOWS)
def test_nan_is_refused_with_its_row(how):
    good, bad = np.zeros((3, 2), dtype=np.float32), np.zeros((3, 2), dtype=np.float32)
    bad[2, 1] = np.nan
    with pytest.raises(OofMismatch, match="predictions 1, row 2: NaN"):
        list(combine([good, bad], how=how))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_wrong_weights_are_refused(weights):
    arrays = [np.zeros((1, 1), dtype=np.float32)] * 2
    with pytest.raises(ConfigError, match="weights: expected 2 numbers"):
        combine(arrays, how="mean", weights=weights)


def test_arrays_that_do_not_belong_together_are_refused():
    array = np.zeros((2, 4, 4, 1), dtype=np.uint8)
    with pytest.raises(OofMismatch, match=r"predictions 1 are uint8 \(2, 4, 3, 1\)"):
        combine([array, array[:, :, :3]], how="mean")
    with pytest.raises(OofMismatch, match="predictions 1 are float64"):
        combine([array, array / 255], how="mean")
    with pytest.raises(OofMismatch, match="expected uint8 or float"):
        combine([array.astype(np.int64)], how="mean")
    with pytest.raises(ConfigError, match="nothing to combine"):
        combine([], how="mean")
    with pytest.raises(ConfigError, match="'median' is not known"):
        combine([array], how="median")


def test_the_memory_of_many_maps_is_released(tmp_path):
    """In a separate process: 8 mappings of 96 MB each are streamed in far less memory than one of them."""
    path = tmp_path / "values.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(96, 1024, 1024, 1)).flush()
    code = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from skyfold.blending.combine import combine\n"
        "maps = [np.load(sys.argv[1], mmap_mode='r', allow_pickle=False) for _ in range(8)]\n"
        "next(combine([m[:1] for m in maps], how='mean'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(len(rows) for rows, _ in combine(maps, how='mean')) == 96\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) < 90
