"""Writes ICO files, the icons of Windows and of browsers.

Source: the ICONDIR and BITMAPINFOHEADER structures of the Windows SDK.
"""

import struct
from collections.abc import Sequence

from darkroom_tools.native import np

__all__ = ["write_ico"]

HEADER_BYTES = 40


def write_ico(pictures: "Sequence[np.ndarray]") -> bytes:
    """An icon file of square pictures, height × width × RGBA of 8 bits, at most 256 pixels a side.

    Entries are bitmaps, not PNG, because older programs read nothing else at these sizes.
    """
    entries = [_bitmap(picture) for picture in pictures]
    offset = 6 + 16 * len(entries)
    directory = struct.pack("<3H", 0, 1, len(entries))
    for picture, entry in zip(pictures, entries, strict=True):
        side = len(picture) % 256  # 0 stands for 256
        directory += struct.pack("<4B2H2I", side, side, 0, 0, 1, 32, len(entry), offset)
        offset += len(entry)
    return directory + b"".join(entries)


def _bitmap(picture: "np.ndarray") -> bytes:
    """A bitmap without file header: blue, green, red and alpha from the last row up, then a mask of one bit."""
    height, width = picture.shape[:2]
    pixels = picture[::-1, :, [2, 1, 0, 3]].tobytes()
    # For programs that know no alpha: set where nothing is to be drawn; rows fill whole groups of 32 bits.
    hidden = np.zeros((height, -(-width // 32) * 32), bool)
    hidden[:, :width] = picture[::-1, :, 3] < 128
    mask = np.packbits(hidden, axis=1).tobytes()
    size = len(pixels) + len(mask)
    return struct.pack("<IiiHHIIiiII", HEADER_BYTES, width, 2 * height, 1, 32, 0, size, 0, 0, 0, 0) + pixels + mask
