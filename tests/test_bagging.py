"""Streaming over chunks gives what combining whole arrays in float64 gives."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.blending import combine as combining
from skyfold.blending.combine import combine
from skyfold.errors import ConfigError, OofMismatch


def whole(arrays, weights=None):
    """All chunks of `combine` put together, in the order of rows 0, 1, 2, ..."""
    rows, values = zip(*combine(arrays, weights), strict=True)
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(len(arrays[0])))
    return np.concatenate(values)


def reference(arrays, weights):
    return sum(w * array.astype(np.float64) for w, array in zip(weights, arrays, strict=True)) / sum(weights)


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


@given(case=ensembles(), size=st.sampled_from([1, 40, 4 << 20]))
@settings(deadline=None, max_examples=60)
def test_streaming_equals_float64_on_whole_arrays(case, size):
    arrays, weights = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combining, "CHUNK_BYTES", size)
        combined = whole(arrays, weights)
    expected = reference(arrays, weights)
    assert combined.dtype == arrays[0].dtype
    if combined.dtype == np.uint8:
        assert (np.abs(combined - expected) <= 0.5 + 1e-9).all()
    else:
        np.testing.assert_allclose(combined, expected, rtol=1e-6, atol=1e-7)


def test_equal_weights_are_the_default():
    arrays = [np.array([[[[0]]], [[[10]]]], dtype=np.uint8), np.array([[[[5]]], [[[20]]]], dtype=np.uint8)]
    np.testing.assert_array_equal(whole(arrays), whole(arrays, [3.0, 3.0]))
    assert whole(arrays).ravel().tolist() == [2, 15]  # 2.5 to the even neighbour


@given(seed=st.integers(0, 10**6), members=st.integers(1, 30), weighted=st.booleans())
@settings(deadline=None, max_examples=30)
def test_whole_weights_round_bytes_to_the_last_bit_as_float64(seed, members, weighted):
    """Also at the largest sums that fit into 16 bits, and where rows are not contiguous."""
    rng = np.random.default_rng(seed)
    arrays = [rng.choice([0, 1, 127, 128, 254, 255], (3, 1, 500, 1)).astype(np.uint8) for _ in range(members)]
    weights = rng.integers(0, 257 // members + 1, members) if weighted else np.ones(members)
    weights[0] = max(weights[0], 1)
    rows = np.array([2, 0])
    ((_, values),) = combine(arrays, weights, rows=rows)
    np.testing.assert_array_equal(values, np.rint(reference([a[rows] for a in arrays], weights)))


def test_order_of_models_and_scale_of_weights_do_not_matter():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (3, 5, 5, 2), dtype=np.uint8) for _ in range(3)]
    one = whole(arrays, [1, 2, 3])
    np.testing.assert_array_equal(one, whole(arrays[::-1], [6, 4, 2]))


def test_memory_maps_are_read_chunk_by_chunk(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (20, 8, 8, 2), dtype=np.uint8) for _ in range(2)]
    for i, array in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
    maps = [np.load(tmp_path / f"{i}.npy", mmap_mode="r", allow_pickle=False) for i in range(2)]
    monkeypatch.setattr(combining, "CHUNK_BYTES", 3 * 8 * 8 * 2)
    chunks = [rows.tolist() for rows, _ in combine(maps)]
    assert chunks[0] == [0, 1, 2]
    assert chunks[-1] == [18, 19]
    np.testing.assert_array_equal(whole(maps), whole(arrays))


def test_nan_is_refused_with_its_row():
    good, bad = np.zeros((3, 2), dtype=np.float32), np.zeros((3, 2), dtype=np.float32)
    bad[2, 1] = np.nan
    with pytest.raises(OofMismatch, match="predictions 1, row 2: NaN"):
        list(combine([good, bad]))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_wrong_weights_are_refused(weights):
    arrays = [np.zeros((1, 1), dtype=np.float32)] * 2
    with pytest.raises(ConfigError, match="weights: expected 2 numbers"):
        combine(arrays, weights)


def test_arrays_that_do_not_belong_together_are_refused():
    array = np.zeros((2, 4, 4, 1), dtype=np.uint8)
    with pytest.raises(OofMismatch, match=r"predictions 1 are uint8 \(2, 4, 3, 1\)"):
        combine([array, array[:, :, :3]])
    with pytest.raises(OofMismatch, match="predictions 1 are float64"):
        combine([array, array / 255])
    with pytest.raises(OofMismatch, match="expected uint8 or float"):
        combine([array.astype(np.int64)])
    with pytest.raises(ConfigError, match="nothing to combine"):
        combine([])


def test_the_memory_of_many_maps_is_released(tmp_path):
    """In a separate process: 8 mappings of 96 MB each are streamed in far less memory than one of them."""
    path = tmp_path / "values.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(96, 1024, 1024, 1)).flush()
    code = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from skyfold.blending.combine import combine\n"
        "maps = [np.load(sys.argv[1], mmap_mode='r', allow_pickle=False) for _ in range(8)]\n"
        "next(combine([m[:1] for m in maps]))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(len(rows) for rows, _ in combine(maps)) == 96\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) < 90
