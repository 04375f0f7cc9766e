"""Restoring faces by a network: each is laid on the template the network was trained on, and put back in its place."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from darkroom_tools.base import Run
from darkroom_tools.kit.faces import Face
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, picture_of, resized, white_level
from darkroom_tools.models import Card, best_installed, cards_for
from darkroom_tools.native import np, pyvips

__all__ = ["RESTORE_MODELS", "best_restorer", "restored"]

RESTORE_MODELS: Final = tuple(card.id for card in cards_for("face-restore"))

TEMPLATE: Final = (
    (0.37691676, 0.46864664),
    (0.62285697, 0.46912813),
    (0.50123859, 0.61331904),
    (0.39308822, 0.72541100),
    (0.61150205, 0.72490465),
)
"""Where eyes, nose and corners of the mouth lie in the square of FFHQ."""

FADE: Final = 0.12
"""Share of the square's side over which a restored face fades into the picture."""

USUAL_FIDELITY: Final = 0.7


class _Placement(NamedTuple):
    """Similarity from pixels of the picture to shares of the square: (a x − b y + c, b x + a y + d)."""

    a: float
    b: float
    c: float
    d: float

    @property
    def scale(self) -> float:
        """Shares of the square a pixel."""
        return math.hypot(self.a, self.b)

    def to_square(self, x: "np.ndarray", y: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        return self.a * x - self.b * y + self.c, self.b * x + self.a * y + self.d

    def to_picture(self, u: "np.ndarray", v: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        square = self.a**2 + self.b**2
        u, v = u - self.c, v - self.d
        return (self.a * u + self.b * v) / square, (self.a * v - self.b * u) / square


def best_restorer(run: Run) -> Card | None:
    """The best network that is installed and may be used commercially, None if there is none."""
    return best_installed("face-restore", run.installed)


def restored(
    pixels: "pyvips.Image",
    faces: Sequence[Face],
    run: Run,
    *,
    model: Card,
    strength: float,
    fidelity: float | None = None,
    report: Callable[[float], None],
) -> "pyvips.Image":
    """The picture with these faces restored; everything else keeps its bytes.

    Args:
        pixels: One frame of any kind; alpha is left as it is.
        faces: With five landmarks each.
        run: Runs the network.
        model: The network.
        strength: 0 leaves the picture, 1 puts in what the network gives.
        fidelity: For networks that weigh likeness (1) against quality (0).
        report: Told how much is done, 0..1.
    """
    colors, white = color_bands(pixels), white_level(pixels)
    color = as_color(pixels.extract_band(0, n=colors))
    places = [_placement(face.landmarks) for face in faces]
    side = int(model.inputs[0].shape[2])

    def requests() -> "Iterator[list[np.ndarray]]":
        for place in places:
            square = _lifted(color, place, side) * (1 / white)
            array = ((square - model.mean) / model.deviation).astype(np.float32).transpose(2, 0, 1)[None]
            weight = np.array([USUAL_FIDELITY if fidelity is None else fidelity], np.float64)
            yield [np.ascontiguousarray(array), weight] if len(model.inputs) > 1 else [np.ascontiguousarray(array)]

    result = as_array(pixels).copy()
    for number, (place, answer) in enumerate(zip(places, run.infer_each(model.id, requests()), strict=True)):
        square = answer.outputs[0][0].transpose(1, 2, 0).astype(np.float32) * model.deviation + model.mean
        if colors == 1:
            square = square @ np.array([[0.299], [0.587], [0.114]])
        _put_back(result[..., :colors], np.clip(square, 0, 1) * white, place, strength)
        report((number + 1) / len(places))
    return picture_of(result, pixels)


def _placement(points: Sequence[tuple[float, float]]) -> _Placement:
    """The similarity that lays the landmarks on the template with the least squared error (Umeyama, 1991)."""
    here, there = np.array(points, np.float64), np.array(TEMPLATE, np.float64)
    x, y = (here - here.mean(0)).T
    u, v = (there - there.mean(0)).T
    spread = max(float((x * x + y * y).sum()), 1e-9)
    a, b = float((x * u + y * v).sum()) / spread, float((x * v - y * u).sum()) / spread
    middle_x, middle_y = here.mean(0)
    middle_u, middle_v = there.mean(0)
    return _Placement(
        a, b, float(middle_u - a * middle_x + b * middle_y), float(middle_v - b * middle_x - a * middle_y)
    )


def _lifted(color: "pyvips.Image", place: _Placement, side: int) -> "np.ndarray":
    """The square of a face, side × side × 3 floats; the edge repeats outside the picture."""
    left, top, right, bottom = _box(place, color.width, color.height)
    part = color.crop(left, top, right - left, bottom - top)
    shrink = min(1.0, place.scale * side)
    width, height = max(1, round(part.width * shrink)), max(1, round(part.height * shrink))
    # Sampling alone would skip pixels of a face that is larger than the square.
    values = as_array(resized(part, width, height, "linear")).astype(np.float32)
    v, u = np.mgrid[:side, :side] + 0.5
    x, y = place.to_picture(u / side, v / side)
    return _sampled(values, (y - top) * (height / part.height) - 0.5, (x - left) * (width / part.width) - 0.5)


def _put_back(result: "np.ndarray", square: "np.ndarray", place: _Placement, strength: float) -> None:
    """Blend a square into the picture, which changes in place."""
    left, top, right, bottom = _box(place, result.shape[1], result.shape[0])
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    u, v = place.to_square(columns, rows)
    side = len(square)
    if place.scale * side > 1:
        # As many values as pixels, or single values of the square would stand for whole neighbourhoods.
        fewer = max(1, round(1 / place.scale))
        made = pyvips.Image.new_from_memory(
            np.ascontiguousarray(square, np.float32).data, side, side, square.shape[2], "float"
        )
        square = as_array(resized(made, fewer, fewer, "linear"))
    values = _sampled(square, v * len(square) - 0.5, u * len(square) - 0.5)
    inside = np.clip(np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v)) / FADE, 0, 1)
    share = (strength * inside * inside * (3 - 2 * inside))[..., None]
    region = result[top:bottom, left:right]
    mixed = np.floor(region + share * (values - region) + 0.5)
    region[...] = np.clip(mixed, 0, np.iinfo(region.dtype).max)


def _box(place: _Placement, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of the picture that the square touches, at least a pixel."""
    x, y = place.to_picture(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    left, top = min(max(0, math.floor(x.min())), width - 1), min(max(0, math.floor(y.min())), height - 1)
    return left, top, max(left + 1, min(width, math.ceil(x.max()))), max(top + 1, min(height, math.ceil(y.max())))


def _sampled(values: "np.ndarray", rows: "np.ndarray", columns: "np.ndarray") -> "np.ndarray":
    """Bilinear samples at fractional places; the edge repeats."""
    rows, columns = np.clip(rows, 0, len(values) - 1), np.clip(columns, 0, values.shape[1] - 1)
    y, x = np.floor(rows).astype(np.int32), np.floor(columns).astype(np.int32)
    down, across = (rows - y)[..., None], (columns - x)[..., None]
    below, right = np.minimum(y + 1, len(values) - 1), np.minimum(x + 1, values.shape[1] - 1)
    upper = values[y, x] * (1 - across) + values[y, right] * across
    lower = values[below, x] * (1 - across) + values[below, right] * across
    mixed: np.ndarray = upper * (1 - down) + lower * down
    return mixed
