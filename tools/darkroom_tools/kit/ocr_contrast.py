"""Faint and unevenly lit text made plain for the networks that read it."""

from typing import Final

from darkroom_tools.native import np, pyvips

__all__ = ["enhanced"]

LEAST_SPREAD: Final = 110
"""Levels between paper and ink from which a picture is left as it is."""
LIT: Final = 0.7
"""Paper whose darker places have less than this share of the light of its brighter ones is lit unevenly."""
FLOOR: Final = 6.0
"""Least spread that is stretched, in levels: below it there is noise and no ink."""


def enhanced(picture: "np.ndarray") -> "np.ndarray":
    """The picture with even paper and full contrast if it needs that, else the same array.

    Local paper and ink are the bright and the dark end of each neighbourhood; where the whole picture has contrast and
    light enough, nothing is changed, since photographs and good scans read best as they are.

    Args:
        picture: Height × width × 3, 8 bits.
    """
    grey = picture.mean(axis=2, dtype=np.float32)
    step = max(1, max(grey.shape) // 512)
    small = grey[::step, ::step]
    window = max(3, min(31, *small.shape))
    low, high = _ends(small, window)
    spread = float(np.percentile(high - low, 95))
    lit = float(np.percentile(high, 5)) / max(1.0, float(np.percentile(high, 95)))
    if spread < FLOOR or spread >= LEAST_SPREAD and lit >= LIT:
        return picture
    low, high = (_enlarged(plane, grey.shape) for plane in (low, high))
    # Where a neighbourhood is flat, that of the whole picture keeps its grain from being blown up.
    reach = np.maximum(high - low, 0.5 * spread)
    plain = np.clip((grey - high) / reach * 235 + 245, 0, 255).astype(np.uint8)
    return np.repeat(plain[..., None], 3, 2)


def _ends(plane: "np.ndarray", window: int) -> "tuple[np.ndarray, np.ndarray]":
    """The dark and the bright end of each neighbourhood, without single pixels."""
    image = pyvips.Image.new_from_memory(
        np.ascontiguousarray(plane).tobytes(), plane.shape[1], plane.shape[0], 1, "float"
    )
    calm = image.embed(2, 2, plane.shape[1] + 4, plane.shape[0] + 4, extend="copy").gaussblur(0.6)
    half = window // 2
    wide = calm.crop(2, 2, plane.shape[1], plane.shape[0])
    wide = wide.embed(half, half, plane.shape[1] + 2 * half, plane.shape[0] + 2 * half, extend="mirror")
    size = 2 * half + 1
    ends = []
    for index in (0, size * size - 1):
        end = wide.rank(size, 1, 0 if index == 0 else size - 1).rank(1, size, 0 if index == 0 else size - 1)
        end = end.gaussblur(half / 2)
        array = np.asarray(end.numpy()).reshape(end.height, end.width)
        top, left = (end.height - plane.shape[0]) // 2, (end.width - plane.shape[1]) // 2
        ends.append(array[top : top + plane.shape[0], left : left + plane.shape[1]])
    return ends[0], ends[1]


def _enlarged(plane: "np.ndarray", shape: tuple[int, ...]) -> "np.ndarray":
    from darkroom_tools.kit.ocr_models import library

    cv2 = library().cv2
    result: np.ndarray = cv2.resize(plane, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return result
