"""Arrays are kept on disk and come back unchanged."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from deepsound.media.disk_arrays import ArraySpool

some_array = arrays_of.arrays(
    dtype=st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_]),
    shape=arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)


@given(st.lists(some_array, max_size=6))
def test_arrays_come_back_in_order_with_their_types_and_shapes(put: list[np.ndarray]) -> None:
    spool = ArraySpool()
    for array in put:
        spool.put(array)
    back = spool.arrays()
    assert len(back) == len(put)
    for was, is_now in zip(put, back, strict=True):
        assert (is_now.dtype, is_now.shape) == (was.dtype, was.shape)
        assert is_now.tobytes() == was.tobytes()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sampled_from([np.uint8, np.float32, np.float64]))
def test_arrays_of_one_type_and_shape_can_be_joined(lengths: list[int], dtype: type[np.generic]) -> None:
    put = [np.arange(length * 15).reshape(length, 3, 5).astype(dtype) for length in lengths]
    spool = ArraySpool()
    for array in put:
        spool.put(array)
    joined = spool.joined()
    assert joined.dtype == dtype
    assert np.array_equal(joined, np.concatenate(put))


def test_writing_to_one_array_changes_no_other() -> None:
    spool = ArraySpool()
    spool.put(np.zeros(8, np.uint8)[::2])
    spool.put(np.zeros(4))
    first, second = spool.arrays()
    first[:] = 7
    assert first.tolist() == [7, 7, 7, 7]
    assert not second.any()
