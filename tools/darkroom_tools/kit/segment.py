"""Subject and background by colour alone: `color-cut`, the method that needs no model.

It minimises the energy of GrabCut (Rother, Kolmogorov, Blake 2004): two Gaussian mixtures in CIELAB for subject and
background, and a border that prefers to run along edges. The mixtures are learnt from the rim of the picture and a
prior for its middle, then in turn with the segmentation. Instead of a graph cut, the convex relaxation of the same
energy is solved (Chan, Esedoglu, Nikolova 2006) by the primal-dual algorithm of Chambolle and Pock (2011), which is
plain array arithmetic and deterministic.

It is good on plain, graded and blurred backgrounds, and poor on clutter; `confidence` says how far to trust it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from darkroom_tools.kit.pixels import as_array
from darkroom_tools.native import np, pyvips

__all__ = ["Cut", "color_cut"]

COMPONENTS: Final = 5
ROUNDS: Final = 3
ITERATIONS: Final = 60
SMOOTHNESS: Final = 2.2
EDGE_FLOOR: Final = 0.04
LARGEST_EVIDENCE: Final = 6.0
SPECK: Final = 0.03
HOLE: Final = 0.25
GLINT: Final = 0.015
"""Shares of the largest region below which a region is a speck, a hole that may be filled, one that is filled."""
SAMPLE: Final = 16_000
"""Pixels that a mixture is learnt from."""
SURFACE_SPREAD: Final = 9.0
SPREAD: Final = 6.0
"""Added to every variance, in squared Lab units: sensor noise, and what keeps a flat colour from being a point."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A segmentation.

    Attributes:
        mask: Height × width, float32 in 0..1, 1 for the subject.
        confidence: 0..1, how well the colours of the two sides separate.
    """

    mask: "np.ndarray"
    confidence: float


@dataclass(frozen=True, slots=True)
class _Mixture:
    """Gaussians with full covariance: log-weights less half the log-determinants, means, and whitening matrices."""

    heights: "np.ndarray"
    means: "np.ndarray"
    whiteners: "np.ndarray"

    def log_density(self, colours: "np.ndarray") -> "np.ndarray":
        """Logarithm of the density at each colour (N × 3), up to a constant that all mixtures share."""
        terms = [
            height - 0.5 * (((colours - mean) @ whitener) ** 2).sum(1)
            for height, mean, whitener in zip(self.heights, self.means, self.whiteners, strict=True)
        ]
        return np.asarray(np.logaddexp.reduce(np.stack(terms), axis=0))


def color_cut(lab: "np.ndarray", progress: Callable[[float], None], likely: "np.ndarray | None" = None) -> Cut:
    """Separate the subject from its background.

    Args:
        lab: Height × width × 3, float32 CIELAB; a few hundred pixels a side are enough.
        progress: Told the share that is done, 0..1, between rounds.
        likely: Height × width, float32 in 0..1: how likely a pixel is subject as far as its place tells; near 1 the
            colours are hardly asked. None where nothing is known but that subjects stand in the middle.
    """
    height, width = lab.shape[:2]
    colours = np.ascontiguousarray(lab.reshape(-1, 3), np.float32)
    horizontal, vertical = _edge_weights(lab)
    start = _from_middle(lab, colours) if likely is None else _from_places(lab, colours, likely)
    background, mask, rim = start.background, start.mask, start.rim
    evidence = np.zeros((height, width), np.float32)
    for turn in range(ROUNDS):
        subject = _fit(colours, mask.ravel() ** 2).log_density(colours)
        if turn:
            weights = ((1 - mask) ** 2 * (0.35 + rim)).ravel()
            background = np.logaddexp(_fit(colours, weights).log_density(colours), start.surface)
        ratio = (subject - background).reshape(height, width)
        evidence = np.clip(ratio, -LARGEST_EVIDENCE, LARGEST_EVIDENCE).astype(np.float32)
        mask = _smooth_cut(evidence + start.prior, horizontal, vertical, mask)
        progress((turn + 1) / ROUNDS)
    confidence = _confidence(mask, evidence, rim, horizontal, vertical)
    return Cut(_tidied(mask, evidence), confidence)


@dataclass(frozen=True, slots=True)
class _Start:
    """What is thought before the first round.

    Attributes:
        mask: Of the subject, 0..1.
        background: Log-density of each colour in the background.
        surface: The part of it that is a smooth surface.
        rim: Where the picture mostly shows background.
        prior: Evidence by place alone.
    """

    mask: "np.ndarray"
    background: "np.ndarray"
    surface: "np.ndarray"
    rim: "np.ndarray"
    prior: "np.ndarray"


def _from_middle(lab: "np.ndarray", colours: "np.ndarray") -> _Start:
    """The subject is in the middle, and is what the rim explains badly."""
    height, width = lab.shape[:2]
    rim, middle = _rim(height, width), _middle(height, width)
    surface = _surface_density(lab, rim).ravel()
    background = np.logaddexp(_fit(colours, rim.ravel()).log_density(colours), surface)
    # What the rim explains badly, the more so the nearer to the middle, is the first idea of the subject.
    typical = np.percentile(background[rim.ravel() >= 1], 10)
    strange = 1 - np.exp(0.5 * np.minimum(0, background - typical))
    mask = (strange.reshape(height, width) * middle).astype(np.float32)
    return _Start(mask, background, surface, rim, 1.5 * (2 * middle - 1) - 3.0 * rim)


def _from_places(lab: "np.ndarray", colours: "np.ndarray", likely: "np.ndarray") -> _Start:
    """The subject is where it is expected, whatever the rim shows."""
    whole = _rim(*lab.shape[:2])
    rim = whole * np.clip(1 - 2 * likely, 0, 1)
    unlikely = np.where(likely < 0.3, whole, 0)
    surface = _surface_density(lab, unlikely if (unlikely >= 1).any() else whole).ravel()
    weights = np.clip(1 - 2.2 * likely, 0, 1) * (0.35 + rim)
    background = np.logaddexp(_fit(colours, weights.ravel()).log_density(colours), surface)
    sure = 20 * np.clip(likely - 0.85, 0, 1)
    prior = (3.0 * (2 * likely - 1) + sure - 3.0 * rim).astype(np.float32)
    return _Start(np.clip(2 * likely - 1, 0, 1).astype(np.float32), background, surface, rim, prior)


def _surface_density(lab: "np.ndarray", rim: "np.ndarray") -> "np.ndarray":
    """Log-density of the background as a smooth surface: what a sky, a wall or a studio sweep looks like.

    A polynomial of degree 4 in x and y is fitted to the colours of the rim, again and again with less weight on what it misses.
    """
    height, width = rim.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([x**i * y**j for i in range(5) for j in range(5 - i)], -1).astype(np.float32)
    on_rim = rim >= 1
    known, colours = terms[on_rim], lab[on_rim]
    weights: np.ndarray = np.ones(len(known), np.float32)
    for _ in range(8):
        normal = (known * weights[:, None]).T @ known + np.eye(terms.shape[-1]) * 1e-2
        factors = np.linalg.solve(normal, (known * weights[:, None]).T @ colours)
        missed = ((colours - known @ factors) ** 2).sum(1)
        weights = 1 / (1 + missed / SURFACE_SPREAD)
    distance = ((lab - terms @ factors.astype(np.float32)) ** 2).sum(-1)
    # As high as one Gaussian of that spread, for the share of the rim that it explains.
    explained = float((missed < 4 * SURFACE_SPREAD).mean())
    return np.asarray(np.log(explained + 1e-3) - 1.5 * np.log(SURFACE_SPREAD) - 0.5 * distance / SURFACE_SPREAD)


def _tidied(mask: "np.ndarray", evidence: "np.ndarray") -> "np.ndarray":
    """The mask without specks, and without holes that the colours do not insist on."""
    solid = mask > 0.5
    labels, areas = _regions(solid)
    ours = np.zeros(len(areas), bool)
    ours[np.unique(labels[solid])] = True
    if not ours.any():
        return mask
    largest = areas[ours].max()
    specks = ours & (areas < SPECK * largest)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    holes = ~ours
    holes[rim] = False
    decided = np.bincount(labels.ravel(), evidence.ravel(), len(areas)) / np.maximum(areas, 1)
    doubtful = (areas < HOLE * largest) & (decided > -0.75 * LARGEST_EVIDENCE)
    fill = holes & (doubtful | (areas < GLINT * largest))
    return np.where(specks[labels], 0, np.where(fill[labels], 1, mask)).astype(np.float32)


def _regions(solid: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The number of the connected region of each pixel, and the area of each region."""
    height, width = solid.shape
    image = pyvips.Image.new_from_memory(solid.astype(np.uint8).tobytes(), width, height, 1, "uchar")
    labels = as_array(image.labelregions())[..., 0]
    return labels, np.bincount(labels.ravel())


def _rim(height: int, width: int) -> "np.ndarray":
    """1 on the frame of the picture, which mostly shows background; the lower edge counts less: people stand there."""
    thick = max(1, round(0.03 * min(height, width)))
    rim = np.zeros((height, width), np.float32)
    rim[-thick:] = 0.4
    rim[:thick] = rim[:, :thick] = rim[:, -thick:] = 1
    return rim


def _middle(height: int, width: int) -> "np.ndarray":
    """A wide bell over the middle, 1 at its top."""
    down = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height - 0.52
    across = (np.arange(width, dtype=np.float32)[None, :] + 0.5) / width - 0.5
    return np.exp(-((down / 0.42) ** 2 + (across / 0.38) ** 2)).astype(np.float32)


def _edge_weights(lab: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """What a border costs between horizontal and between vertical neighbours: little across an edge."""
    across = ((lab[:, 1:] - lab[:, :-1]) ** 2).sum(-1)
    down = ((lab[1:] - lab[:-1]) ** 2).sum(-1)
    mean = (across.sum() + down.sum()) / max(1, across.size + down.size)
    scale = 1 / max(2 * mean, 1e-6)
    return (
        (EDGE_FLOOR + (1 - EDGE_FLOOR) * np.exp(-across * scale)).astype(np.float32),
        (EDGE_FLOOR + (1 - EDGE_FLOOR) * np.exp(-down * scale)).astype(np.float32),
    )


def _fit(colours: "np.ndarray", weights: "np.ndarray") -> _Mixture:
    """A mixture by weighted k-means, started along the main axis of the colours."""
    every = -(-len(colours) // SAMPLE)
    colours, weights = colours[::every], np.maximum(weights[::every], 1e-6)
    order = np.argsort(colours @ _main_axis(colours, weights), kind="stable")
    share = np.cumsum(weights[order])
    starts = np.searchsorted(share, share[-1] * (np.arange(COMPONENTS) + 0.5) / COMPONENTS)
    means = colours[order[np.minimum(starts, len(order) - 1)]]
    labels = np.zeros(len(colours), np.intp)
    for _ in range(6):
        labels = np.argmin(((colours**2).sum(1)[:, None] - 2 * colours @ means.T + (means**2).sum(1)), axis=1)
        total = np.bincount(labels, weights, COMPONENTS)
        for axis in range(3):
            sums = np.bincount(labels, weights * colours[:, axis], COMPONENTS)
            means[:, axis] = np.where(total > 0, sums / np.maximum(total, 1e-12), means[:, axis])
    return _gaussians(colours, weights, labels, means)


def _main_axis(colours: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    mean = np.average(colours, axis=0, weights=weights)
    offset = colours - mean
    return np.linalg.eigh((offset * weights[:, None]).T @ offset)[1][:, -1].astype(np.float32)


def _gaussians(colours: "np.ndarray", weights: "np.ndarray", labels: "np.ndarray", means: "np.ndarray") -> _Mixture:
    heights, whiteners = [], []
    for number, mean in enumerate(means):
        mine = labels == number
        weight, offset = weights[mine], colours[mine] - mean
        total = max(float(weight.sum()), 1e-9)
        covariance = (offset * weight[:, None]).T @ offset / total + np.eye(3) * SPREAD
        whiteners.append(np.linalg.cholesky(np.linalg.inv(covariance)))
        heights.append(np.log(total / weights.sum()) - 0.5 * np.linalg.slogdet(covariance)[1])
    return _Mixture(np.array(heights, np.float32), means.astype(np.float32), np.array(whiteners, np.float32))


def _smooth_cut(
    evidence: "np.ndarray", horizontal: "np.ndarray", vertical: "np.ndarray", start: "np.ndarray"
) -> "np.ndarray":
    """The mask in 0..1 that minimises weighted total variation minus evidence, by the primal-dual algorithm."""
    step = np.float32(0.35)  # below 1/√8, the norm of the gradient
    mask, ahead = start.copy(), start.copy()
    flow_across = np.zeros_like(horizontal)
    flow_down = np.zeros_like(vertical)
    limit_across, limit_down = SMOOTHNESS * horizontal, SMOOTHNESS * vertical
    for _ in range(ITERATIONS):
        flow_across = np.clip(flow_across + step * (ahead[:, 1:] - ahead[:, :-1]), -limit_across, limit_across)
        flow_down = np.clip(flow_down + step * (ahead[1:] - ahead[:-1]), -limit_down, limit_down)
        gain = 0.5 * evidence
        gain[:, :-1] += flow_across
        gain[:, 1:] -= flow_across
        gain[:-1] += flow_down
        gain[1:] -= flow_down
        moved = np.clip(mask + step * gain, 0, 1)
        ahead = 2 * moved - mask
        mask = moved
    return mask


def _confidence(
    mask: "np.ndarray", evidence: "np.ndarray", rim: "np.ndarray", horizontal: "np.ndarray", vertical: "np.ndarray"
) -> float:
    """How decided the colours are, how much of the border runs along edges, and whether the subject is one piece."""
    share = float(mask.mean())
    if not 0.005 < share < 0.95:
        return 0.0
    agreement = np.where(mask > 0.5, evidence, -evidence)
    decided = float(np.clip(agreement / LARGEST_EVIDENCE, -1, 1).mean())
    touching = float((mask * rim).sum() / rim.sum())
    across, down = np.abs(np.diff(mask, axis=1)), np.abs(np.diff(mask, axis=0))
    along_edges = 1 - float((across * horizontal).sum() + (down * vertical).sum()) / float(across.sum() + down.sum())
    solid = mask > 0.5
    labels, _ = _regions(solid)
    in_one_piece = float(np.bincount(labels[solid]).max() / solid.sum())
    trust = 1.4 * decided * (1 - touching) * along_edges**2 * in_one_piece**2
    return round(max(0.0, min(1.0, trust)), 2)
