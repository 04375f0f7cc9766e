"""Arrays in shared memory: what crosses between pixel workers and the model process instead of copies in messages.

On Linux the memory is a memfd that is sealed once it is written: nobody can shrink or change it any more, so the
reader maps it as it is. Elsewhere it is an unlinked temporary file, which the reader copies.
"""

import fcntl
import io
import math
import mmap
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from darkroom_tools.errors import LimitExceeded, ProcessingFailed

__all__ = ["DTYPES", "MAX_ARRAY_BYTES", "read_array", "write_array"]

MAX_ARRAY_BYTES: Final = 1024**3
MAX_RANK: Final = 8

DTYPES: Final = frozenset(
    {"float16", "float32", "float64", "bool"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
"""Element types that may cross; anything else, Python objects above all, is refused."""


def write_array(array: np.ndarray) -> tuple[dict[str, Any], int]:
    """Put an array into shared memory.

    Returns:
        What the reader must know, `{"dtype", "shape"}`, and a descriptor that is the caller's to close.

    Raises:
        LimitExceeded: It is over 1 GiB.
        ProcessingFailed: Its element type is none of `DTYPES`.
    """
    if array.dtype.name not in DTYPES or array.ndim > MAX_RANK:
        raise ProcessingFailed(
            f"Arrays of type {array.dtype.name} with {array.ndim} axes do not go to or from a model."
        )
    if array.nbytes > MAX_ARRAY_BYTES:
        raise LimitExceeded(
            f"An array of {array.nbytes // 2**20} MiB is too large for a model; the limit is "
            f"{MAX_ARRAY_BYTES // 2**20} MiB. Use a smaller image."
        )
    flat = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C").reshape(-1).view(np.uint8)
    fd = _new_memory()
    try:
        with io.FileIO(fd, "wb", closefd=False) as file:
            rest = flat.data
            while rest:
                rest = rest[file.write(rest) :]
        _seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return {"dtype": array.dtype.name, "shape": list(array.shape)}, fd


def read_array(meta: Mapping[str, Any], fd: int, *, copy: bool = False) -> np.ndarray:
    """The array behind a descriptor, which stays the caller's to close.

    Args:
        meta: What `write_array` said of it.
        fd: The memory.
        copy: Have an array of one's own, which can be changed; otherwise it is read-only, and holds a descriptor of
            its own as long as it lives.

    Raises:
        ProcessingFailed: The description is malformed, or the memory is not of the size it announces.
    """
    dtype, shape = _checked(meta)
    size = math.prod(shape) * dtype.itemsize
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        raise ProcessingFailed(f"The array announces {size} bytes, but its memory has {status.st_size}.")
    if size == 0:
        flat = np.empty(0, dtype)
    elif not copy and _is_sealed(fd):
        flat = np.frombuffer(mmap.mmap(fd, size, prot=mmap.PROT_READ), dtype)
    else:
        flat = _copied(fd, size).view(dtype)
    array = flat.reshape(shape)
    array.flags.writeable = copy
    return array


def _checked(meta: Mapping[str, Any]) -> tuple[np.dtype[Any], list[int]]:
    name, shape = (meta.get("dtype"), meta.get("shape")) if isinstance(meta, Mapping) else (None, None)
    if not isinstance(name, str) or name not in DTYPES or not isinstance(shape, list) or len(shape) > MAX_RANK:
        raise ProcessingFailed("An array for a model has a malformed description.")
    if not all(type(side) is int and 0 <= side <= MAX_ARRAY_BYTES for side in shape):
        raise ProcessingFailed("An array for a model has a malformed shape.")
    dtype = np.dtype(name)
    if math.prod(shape) * dtype.itemsize > MAX_ARRAY_BYTES:
        raise ProcessingFailed(f"An array for a model is over {MAX_ARRAY_BYTES // 2**20} MiB.")
    return dtype, shape


if sys.platform == "linux":
    SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL

    def _new_memory() -> int:
        return os.memfd_create("darkroom-array", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def _seal(fd: int) -> None:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)

    def _is_sealed(fd: int) -> bool:
        # Unsealed memory could be shrunk under a mapping, and reading it would then end the process (SIGBUS).
        try:
            return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
        except OSError:
            return False

else:

    def _new_memory() -> int:
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())

    def _seal(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)

    def _is_sealed(fd: int) -> bool:
        return False


def _copied(fd: int, size: int) -> np.ndarray:
    data = np.empty(size, np.uint8)
    with io.FileIO(fd, "rb", closefd=False) as file:
        file.seek(0)
        rest = data.data
        while rest:
            got = file.readinto(rest)
            if not got:
                raise ProcessingFailed("The memory of an array for a model is shorter than announced.")
            rest = rest[got:]
    return data
