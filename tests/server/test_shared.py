import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.engine import shared
from darkroom.engine.shared import DTYPES, read_array, write_array
from darkroom_tools.errors import LimitExceeded, ProcessingFailed

linux = pytest.mark.skipif(sys.platform != "linux", reason="memfd and seals exist on Linux only")


@contextmanager
def crossing(array: np.ndarray) -> Iterator[tuple[dict[str, Any], int]]:
    meta, fd = write_array(array)
    try:
        yield meta, fd
    finally:
        os.close(fd)


@contextmanager
def plain_file(data: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.fileno()


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_allowed_type_crosses_unchanged(dtype: str) -> None:
    array = np.random.default_rng(1).integers(0, 2, (2, 3, 5)).astype(dtype)

    with crossing(array) as (meta, fd):
        back = read_array(meta, fd)

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4, 5)])
def test_every_shape_crosses_unchanged(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 7, np.int16)

    with crossing(array) as (meta, fd):
        back = read_array(meta, fd)

    assert back.shape == shape
    np.testing.assert_array_equal(back, array)


def test_views_and_foreign_byte_orders_arrive_as_their_values() -> None:
    array = np.arange(24, dtype=">f4").reshape(4, 6)[::-2, ::3].T

    with crossing(array) as (meta, fd):
        np.testing.assert_array_equal(read_array(meta, fd), array)


def test_what_was_read_outlives_its_descriptor_and_cannot_be_changed() -> None:
    with crossing(np.arange(1000.0)) as (meta, fd):
        back = read_array(meta, fd)

    assert back.sum() == 499_500
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


def test_a_copy_holds_no_descriptor_and_can_be_changed() -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    with crossing(np.arange(1000.0)) as (meta, fd):
        back = read_array(meta, fd, copy=True)

    back[0] = 7
    assert back.sum() == 499_507
    assert len(list(Path("/dev/fd").iterdir())) == before


@linux
def test_the_sender_can_neither_shrink_nor_change_what_it_sent() -> None:
    with crossing(np.arange(1000.0)) as (_, fd):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)


def test_memory_that_its_owner_can_still_shrink_is_copied_not_mapped() -> None:
    array = np.arange(100, dtype=np.uint8)
    with plain_file(array.tobytes()) as fd:
        back = read_array({"dtype": "uint8", "shape": [100]}, fd)
        os.ftruncate(fd, 0)

    np.testing.assert_array_equal(back, array)


MALFORMED: list[Any] = [
    {},
    None,
    ["uint8", [100]],
    {"dtype": "object", "shape": [100]},
    {"dtype": "O", "shape": [100]},
    {"dtype": "complex64", "shape": [100]},
    {"dtype": ["uint8"], "shape": [100]},
    {"dtype": "uint8", "shape": 100},
    {"dtype": "uint8", "shape": [-100]},
    {"dtype": "uint8", "shape": [-10, -10]},
    {"dtype": "uint8", "shape": [100.0]},
    {"dtype": "uint8", "shape": [True, 100]},
    {"dtype": "uint8", "shape": [1] * 8 + [100]},
    {"dtype": "uint8", "shape": [2**40]},
    {"dtype": "uint8", "shape": [2**30, 2**30]},
    {"dtype": "uint8", "shape": [99]},
    {"dtype": "uint8", "shape": [101]},
    {"dtype": "float64", "shape": [100]},
]


@pytest.mark.parametrize("meta", MALFORMED, ids=repr)
def test_a_description_that_does_not_fit_the_memory_is_refused(meta: Any) -> None:
    with plain_file(bytes(100)) as fd, pytest.raises(ProcessingFailed):
        read_array(meta, fd)


def test_a_descriptor_of_something_else_than_memory_is_refused() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(ProcessingFailed):
            read_array({"dtype": "uint8", "shape": [0]}, reader)
    finally:
        os.close(reader)
        os.close(writer)


def test_python_objects_and_text_do_not_cross() -> None:
    for array in (np.array([{}]), np.array(["text"]), np.array([1j])):
        with pytest.raises(ProcessingFailed):
            write_array(array)


def test_an_array_over_the_limit_is_refused_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_ARRAY_BYTES", 2**20)

    with pytest.raises(LimitExceeded, match="the limit is 1 MiB"):
        write_array(np.zeros(2**20 + 1, np.uint8))


def test_a_refused_array_leaves_no_descriptor_open() -> None:
    _, before = write_array(np.zeros(1))
    os.close(before)

    with pytest.raises(ProcessingFailed):
        write_array(np.array([{}]))

    _, after = write_array(np.zeros(1))
    os.close(after)
    assert after == before
