"""Text in a picture: found, turned upright, read, and put into the order in which people read it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_tools.base import Run
from darkroom_tools.kit import ocr_models
from darkroom_tools.kit.ocr_contrast import enhanced
from darkroom_tools.kit.ocr_layout import Box, reading_order
from darkroom_tools.kit.ocr_models import CLASSIFIER, Script
from darkroom_tools.models import missing
from darkroom_tools.native import np

__all__ = ["OCR_MODELS", "Line", "Page", "Tier", "read_page"]

Tier = Literal["fast", "balanced", "best"]
Report = Callable[[float, str], None]

SMALL: Final = ("ppocrv6-det-small", "ppocrv6-rec-small")
MEDIUM: Final = ("ppocrv6-det-medium", "ppocrv6-rec-medium")
OCR_MODELS: Final = (*SMALL, *MEDIUM, CLASSIFIER)

LEAST_SIDE: Final = 8
"""Pictures with a shorter side hold no text that could be read."""
MARGIN: Final = 16
"""Paper around the picture: letters that touch its edge are found badly."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How closely a tier looks for lines.

    Attributes:
        longest: Side that larger pictures are reduced to.
        shortest: Side that smaller ones are enlarged to, as far as `most` allows.
        most: Largest enlargement.
        text: Height of the usual line, in pixels as the detector sees it, below which it looks again, closer.
        pixels: Most that one look may have; larger ones are cut into strips.
    """

    longest: int
    shortest: int
    most: float
    text: float
    pixels: int = 3_000_000


LOOKS: Final[dict[Tier, _Look]] = {
    "fast": _Look(1280, 320, 1.5, 0.0),
    "balanced": _Look(1920, 512, 2.0, 11.0),
    "best": _Look(1920, 736, 3.0, 22.0),
}
CLOSEST: Final = 32.0
"""Height of the usual line that a closer look aims at."""

DOUBTFUL: Final = 0.8
"""Confidence below which a line is tried the other way up."""
UNREADABLE: Final = 0.5
"""Confidence from which a line is text, as rapidocr has it."""
UNDECIDED: Final = 0.1
"""How far the mean of all lines must be from even for all to be turned alike; single lines are often taken wrongly."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text.

    Attributes:
        text: As it was read, not cleaned.
        confidence: 0 to 1.
        corners: Four points (x, y) in pixels of the picture, clockwise from where the text begins.
    """

    text: str
    confidence: float
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What was read.

    Attributes:
        paragraphs: Of rows of lines, as people read them.
        method: Ids of the detector and the recogniser.
        unread: How many places look like text but could not be read.
        angle: Degrees that the text is turned clockwise.
    """

    paragraphs: tuple[tuple[tuple[Line, ...], ...], ...]
    method: tuple[str, str]
    unread: int = 0
    angle: float = 0.0


@dataclass(slots=True)
class _Found:
    """A line on its way: its corners, its crop, and how that was turned: to the left, and on its head."""

    corners: "np.ndarray"
    crop: "np.ndarray"
    turned: bool
    flipped: bool = False
    text: str = ""
    confidence: float = 0.0


def read_page(
    picture: "np.ndarray",
    run: Run,
    report: Report,
    *,
    tier: Tier = "balanced",
    script: Script = "any",
    enhance: bool = True,
) -> Page:
    """Read the text of a picture.

    Args:
        picture: Height × width × 3, 8 bits, BGR.
        run: Runs the networks.
        report: Takes the share that is done, 0..1, and a message.
        tier: How thoroughly.
        script: `latin` leaves out what no language with Latin letters has.
        enhance: Whether faint and unevenly lit text is made plain first.

    Raises:
        ModelNotInstalled: Not even the small models are here.
        RuntimeNotInstalled: rapidocr or ONNX Runtime is missing.
    """
    detector, recogniser = method = _models(tier, run)
    if min(picture.shape[:2]) < LEAST_SIDE:
        return Page((), method)
    report(0.02, "looking for text")
    plain = enhanced(picture) if enhance else picture
    corners = _lines(plain, LOOKS[tier], run, detector, report)
    found = [_Found(quad, *ocr_models.cropped(plain, quad)) for quad in corners]
    report(0.4, f"reading {len(found)} lines")
    if found:
        _turn_upright(found, ocr_models.classified([line.crop for line in found], run))
    _read(found, run, recogniser, script, lambda done: report(0.4 + 0.4 * done, f"reading {len(found)} lines"))
    _read_again(found, run, recogniser, script)
    report(0.95, "putting lines in order")
    legible = [line for line in found if line.confidence >= UNREADABLE and line.text.strip()]
    paragraphs, angle = _ordered(legible)
    return Page(paragraphs, method, len(found) - len(legible), angle)


def _models(tier: Tier, run: Run) -> tuple[str, str]:
    """Ids of detector and recogniser; each falls back to the small one by itself."""
    wanted = [MEDIUM, SMALL] if tier == "best" else [SMALL]
    detector, recogniser = (next((pair[n] for pair in wanted if run.installed(pair[n])), SMALL[n]) for n in range(2))
    if not run.installed(detector) or not run.installed(recogniser):
        ocr_models.library()  # without it the packaged models are missing too, and its error has the right command
        raise missing(detector)
    return detector, recogniser


def _lines(picture: "np.ndarray", look: _Look, run: Run, detector: str, report: Report) -> "np.ndarray":
    """Corners of all lines; a second, closer look where the first one found small text."""
    height, width = picture.shape[:2]
    scale = min(look.longest / max(height, width), max(1.0, look.shortest / min(height, width)), look.most)
    corners = _seen(picture, scale, look, run, detector)
    usual = float(np.median([_sides(quad)[1] for quad in corners])) if len(corners) else 0.0
    closer = min(CLOSEST / usual, 1.0 if scale < 1 else look.most) if usual else 0.0
    if usual * scale < look.text and closer > 1.3 * scale:
        report(0.2, "looking closer")
        again = _seen(picture, closer, look, run, detector)
        corners = again if len(again) >= len(corners) else corners
    return corners


def _seen(picture: "np.ndarray", scale: float, look: _Look, run: Run, detector: str) -> "np.ndarray":
    """Corners of the lines that the detector sees at a scale, in strips where that is a large picture."""
    cv2 = ocr_models.library().cv2
    height, width = picture.shape[:2]
    margin = math.ceil(MARGIN / scale)
    rows = max(1, math.ceil(look.pixels / (scale * scale * width)))
    overlap = 0 if rows >= height else min(rows // 3, math.ceil(160 / scale))
    found: list[np.ndarray] = []
    last: list[np.ndarray] = []
    for top in range(0, max(1, height - overlap), max(1, rows - overlap)):
        strip = picture[top : top + rows]
        sides = round(strip.shape[1] * scale), round(strip.shape[0] * scale)
        kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        sized = cv2.resize(strip, (max(1, sides[0]), max(1, sides[1])), interpolation=kernel)
        sized = cv2.copyMakeBorder(sized, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE)
        shape = strip.shape[0] + 2 * margin, strip.shape[1] + 2 * margin
        quads = ocr_models.detected(sized, shape, run, detector) - margin
        quads = quads[[not _is_cut(quad, top, strip.shape[0], height, overlap) for quad in quads]]
        placed = [np.asarray(quad + (0, top), np.float32) for quad in quads]
        last = [quad for quad in placed if not _is_known(quad, last)]
        found += last
        if top + rows >= height:
            break
    limits = np.array([width, height], np.float32)
    return np.clip(np.array(found, np.float32).reshape(-1, 4, 2), 0, limits)


def _is_cut(quad: "np.ndarray", top: int, rows: int, height: int, overlap: int) -> bool:
    """Whether a line ends at a cut between strips, and so is whole in the next one."""
    low, high = quad[:, 1].min(), quad[:, 1].max()
    near = overlap / 8
    whole_there = high - low < overlap - near
    return whole_there and (top > 0 and low < near or top + rows < height and high > rows - near)


def _is_known(quad: "np.ndarray", known: "Sequence[np.ndarray]") -> bool:
    """Whether the strip before saw this line too: the middle of one lies in the other."""
    inside = ocr_models.library().cv2.pointPolygonTest
    middle = quad.mean(0)
    return any(
        inside(other, (float(middle[0]), float(middle[1])), False) > 0
        or inside(quad, (float(other[:, 0].mean()), float(other[:, 1].mean())), False) > 0
        for other in known
    )


def _sides(quad: "np.ndarray") -> tuple[float, float]:
    """Length and height of a line, whichever way it runs."""
    across, down = (float(np.linalg.norm(quad[0] - quad[n])) for n in (1, 3))
    return max(across, down), min(across, down)


def _turn_upright(found: "Sequence[_Found]", upside_down: "np.ndarray") -> None:
    """Turn lines that stand on their head: all or none where the text as a whole is sure, else each for itself."""
    lengths = np.array([_sides(line.corners)[0] for line in found])
    leaning = float(np.average(upside_down, weights=lengths)) - 0.5
    for line, chance in zip(found, upside_down, strict=True):
        if (leaning if abs(leaning) > UNDECIDED else chance - 0.5) > 0:
            _flip(line)


def _flip(line: _Found) -> None:
    line.crop = np.ascontiguousarray(line.crop[::-1, ::-1])
    line.flipped = not line.flipped


def _read(found: "Sequence[_Found]", run: Run, model: str, script: Script, report: Callable[[float], None]) -> None:
    for done, (n, text, confidence) in enumerate(
        ocr_models.recognised([line.crop for line in found], run, model, script), 1
    ):
        found[n].text, found[n].confidence = text, confidence
        report(done / len(found))


def _read_again(found: "Sequence[_Found]", run: Run, model: str, script: Script) -> None:
    """Try doubtful lines the other way up, and keep what reads better."""
    doubtful = [line for line in found if line.confidence < DOUBTFUL]
    crops = [np.ascontiguousarray(line.crop[::-1, ::-1]) for line in doubtful]
    for n, text, confidence in ocr_models.recognised(crops, run, model, script):
        line = doubtful[n]
        if confidence > line.confidence + 0.1:
            _flip(line)
            line.text, line.confidence = text, confidence


def _ordered(found: "Sequence[_Found]") -> tuple[tuple[tuple[tuple[Line, ...], ...], ...], float]:
    """Lines in reading order, and the angle of the page."""
    if not found:
        return (), 0.0
    upright = [_upright(line) for line in found]
    ways = np.array([quad[1] - quad[0] for quad in upright])
    lengths = np.linalg.norm(ways, axis=1)
    # Long lines say best which way the page runs; the mean of angles must not break at ±180 degrees.
    angle = math.atan2(*(ways * lengths[:, None]).sum(0)[::-1])
    cosine, sine = math.cos(-angle), math.sin(-angle)
    turned = np.array(upright) @ np.array([[cosine, sine], [-sine, cosine]])
    boxes = [_box(quad) for quad in turned]
    lines = [
        Line(line.text, line.confidence, tuple((float(x), float(y)) for x, y in quad))
        for line, quad in zip(found, upright, strict=True)
    ]
    order = reading_order(boxes)
    return tuple(tuple(tuple(lines[n] for n in row) for row in rows) for rows in order), math.degrees(angle)


def _upright(line: _Found) -> "np.ndarray":
    """The corners, clockwise from where the text begins: those of the crop, back in the picture."""
    return np.roll(line.corners, -line.turned - 2 * line.flipped, axis=0)


def _box(quad: "np.ndarray") -> Box:
    """The upright box of a line, as high as the line itself where it runs aslant."""
    left, right = quad[:, 0].min(), quad[:, 0].max()
    middle, height = quad[:, 1].mean(), np.linalg.norm(quad[3] - quad[0])
    return Box(float(left), float(middle - height / 2), float(right), float(middle + height / 2))
