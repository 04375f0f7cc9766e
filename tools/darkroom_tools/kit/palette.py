"""The colours that a picture is made of: k-means in OKLab, where equal distances look equally different."""

from typing import Final, NamedTuple

from darkroom_tools.native import np

__all__ = ["Swatch", "main_colors", "oklab"]

ROUNDS: Final = 24
ALIKE: Final = 0.02
"""OKLab distance at which two colours side by side are hardly told apart."""

STRAY_LIGHT: Final = 0.005
"""Of every screen and room; without it OKLab takes the noise of the darkest shades for many colours."""

GRAIN: Final = 3
"""Low bits of each channel that the clustering does not see."""

# Björn Ottosson, "A perceptual color space for image processing", 2020; the matrices are public domain.
TO_CONES: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


class Swatch(NamedTuple):
    """A colour, and its share of the pixels."""

    red: int
    green: int
    blue: int
    share: float


def oklab(colors: "np.ndarray", stray_light: float = 0) -> "np.ndarray":
    """OKLab of N × 3 sRGB colours 0..255, as seen with that share of the light of white added to each."""
    values = colors / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = (linear + stray_light) / (1 + stray_light)
    return np.asarray(np.cbrt(linear @ np.array(TO_CONES).T) @ np.array(TO_LAB).T)


def main_colors(pixels: "np.ndarray", most: int) -> list[Swatch]:
    """The colours that stand for N × 3 sRGB pixels of 8 bits, the most frequent first; deterministic.

    If there are no more than `most` different ones, these are the answer. Otherwise similar ones are gathered, and a
    group is shown by its commonest colour if that makes up half of it, else by its mean. Groups that look alike are
    one; so fewer than `most` may come back.
    """
    if not len(pixels):
        return []
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    codes, counts = np.unique(packed, return_counts=True)
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
    if len(codes) <= most:
        return _sorted(colors, counts / counts.sum())
    groups = _groups(colors, counts, most)
    shown = np.array([_shown(colors[groups == g], counts[groups == g]) for g in range(groups.max() + 1)])
    return _sorted(shown, np.bincount(groups, counts) / counts.sum())


def _groups(colors: "np.ndarray", counts: "np.ndarray", most: int) -> "np.ndarray":
    """The number of the group of each colour."""
    # Points of nearly one colour act as one, with their mean.
    _, cells = np.unique((colors >> GRAIN) @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    lab, weights = oklab(colors, STRAY_LIGHT), np.bincount(cells, counts)
    points = np.stack([np.bincount(cells, counts * lab[:, axis]) for axis in range(3)], axis=-1) / weights[:, None]
    centers = _spread(points, weights, most)
    for _ in range(ROUNDS):
        nearest = _nearest(points, centers)
        moved = _means(points, weights, nearest, centers)
        if np.allclose(moved, centers, atol=1e-5):
            break
        centers = moved
    nearest = _nearest(points, centers)
    return _merged(points, weights, nearest)[cells]


def _spread(points: "np.ndarray", weights: "np.ndarray", most: int) -> "np.ndarray":
    """First centres: the heaviest point, then again and again the one of most weight times squared distance."""
    centers = [points[weights.argmax()]]
    distance = ((points - centers[0]) ** 2).sum(axis=1)
    while len(centers) < most and distance.max() > 0:
        centers.append(points[(distance * weights).argmax()])
        distance = np.minimum(distance, ((points - centers[-1]) ** 2).sum(axis=1))
    return np.array(centers)


def _nearest(points: "np.ndarray", centers: "np.ndarray") -> "np.ndarray":
    return np.asarray(((centers**2).sum(axis=1) - 2 * points @ centers.T).argmin(axis=1))


def _means(points: "np.ndarray", weights: "np.ndarray", nearest: "np.ndarray", centers: "np.ndarray") -> "np.ndarray":
    """The middle of each group; one that is empty stays where it is."""
    count = len(centers)
    mass = np.bincount(nearest, weights, count)
    sums = np.stack([np.bincount(nearest, weights * points[:, axis], count) for axis in range(3)], axis=-1)
    return np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-9)[:, None], centers)


def _merged(points: "np.ndarray", weights: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """The groups numbered anew, those that look alike as one: the two nearest are joined until none are."""
    while True:
        _, groups = np.unique(groups, return_inverse=True)
        count = int(groups.max()) + 1
        centers = _means(points, weights, groups, np.zeros((count, 3)))
        distances = ((centers[:, None] - centers[None]) ** 2).sum(axis=-1) + np.diag(np.full(count, np.inf))
        first, second = np.unravel_index(distances.argmin(), distances.shape)
        if distances[first, second] >= ALIKE**2:
            return np.asarray(groups)
        groups[groups == max(first, second)] = min(first, second)


def _shown(colors: "np.ndarray", counts: "np.ndarray") -> "np.ndarray":
    """The colour that stands for a group."""
    if 2 * counts.max() >= counts.sum():
        return np.asarray(colors[counts.argmax()])
    return np.asarray(np.rint(counts @ colors / counts.sum()))


def _sorted(colors: "np.ndarray", shares: "np.ndarray") -> list[Swatch]:
    swatches = [
        Swatch(int(red), int(green), int(blue), float(share))
        for (red, green, blue), share in zip(colors, shares, strict=True)
    ]
    return sorted(swatches, key=lambda swatch: (-swatch.share, swatch))
