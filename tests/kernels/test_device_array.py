"""Arrays on a device that somebody else owns: what is taken, what is refused and why."""

import numpy as np
import pytest

from kernels.device_array import DeviceArray, borrow, row_of
from kernels.errors import DeviceError, LayoutError

ADDRESS = 0x7F00_0000


class Lent:
    """What CuPy's arrays say of themselves."""

    def __init__(self, shape, typestr="<f4", strides=None, **more):
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": typestr, "data": (ADDRESS, False), "strides": strides,
            "version": 3, "stream": 1, **more,
        }  # fmt: skip


def test_a_lent_array_is_ours_at_the_same_address_and_is_held():
    lent = Lent((3, 4))
    array, stream = borrow(lent, np.float32)
    assert (array.pointer, array.shape, array.dtype) == (ADDRESS, (3, 4), np.float32)
    assert array.memory is lent
    assert array.nbytes == 48
    assert stream == 1


def test_an_array_that_nobody_is_writing_names_no_stream():
    _, stream = borrow(DeviceArray(ADDRESS, (2,), np.dtype(np.int64), None), np.int64)
    assert stream is None


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((3, 4), (16, 4)), ((1, 4), (999, 4)), ((3, 1), (4, 999)), ((0, 4), (7, 7)), ((), ())],
)
def test_strides_of_an_array_in_one_piece_are_taken(shape, strides):
    assert borrow(Lent(shape, strides=strides), np.float32)[0].shape == shape


@pytest.mark.parametrize(
    ("shape", "strides"), [((3, 4), (4, 12)), ((4,), (8,)), ((3, 4), (32, 4)), ((4,), (-4,))]
)
def test_an_array_that_is_not_contiguous_is_refused(shape, strides):
    with pytest.raises(LayoutError, match=r"its shape was .* with strides .* expected C-contig"):
        borrow(Lent(shape, strides=strides), np.float32)


def test_another_dtype_is_refused():
    with pytest.raises(LayoutError, match="its dtype was float64, expected float32"):
        borrow(Lent((3,), "<f8"), np.float32)


def test_an_array_of_the_host_is_refused():
    with pytest.raises(DeviceError, match=r"array was a ndarray, expected one on a GPU"):
        borrow(np.zeros(3, np.float32), np.float32)


@pytest.mark.parametrize(
    ("said", "words"),
    [({"version": 1}, "version 1 and no mask"), ({"mask": object()}, "version 3 and a mask")],
)
def test_an_interface_that_hides_something_is_refused(said, words):
    with pytest.raises(DeviceError, match=words):
        borrow(Lent((3,), **said), np.float32)


def test_a_row_begins_where_the_rows_before_it_end():
    matrix = DeviceArray(ADDRESS, (2, 5, 100), np.dtype(np.float32), None)
    row = row_of(matrix, 7, 60)
    assert (row.pointer, row.shape, row.nbytes) == (ADDRESS + 7 * 400, (60,), 240)
    assert row.memory is matrix
    vector = DeviceArray(ADDRESS, (100,), np.dtype(np.uint16), None)
    assert row_of(vector, 0, 3).pointer == ADDRESS


def test_what_others_read_of_our_arrays_is_read_only_and_contiguous():
    said = DeviceArray(ADDRESS, (2, 3), np.dtype(np.uint16), None).__cuda_array_interface__
    assert said == {"shape": (2, 3), "typestr": "<u2", "data": (ADDRESS, True), "strides": None,
                    "version": 3}  # fmt: skip
