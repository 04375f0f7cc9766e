"""A portrait before one plain colour, cut to a photo."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from darkroom_tools.base import Run
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit import backdrop, matting
from darkroom_tools.kit.color import parse_color
from darkroom_tools.kit.cutout import WORKING_SIDE, Subject, subject_mask
from darkroom_tools.kit.geometry import Box
from darkroom_tools.kit.pixels import as_array, as_color, white_level
from darkroom_tools.kit.portrait import Landmarks, Placement, rendered
from darkroom_tools.native import np, pyvips

__all__ = ["Studio", "expected", "studio"]

AROUND: Final = 0.25
"""What is looked at around the photo to find the person, in sides of the photo."""
PLAIN: Final = 4.0
"""Distance in CIELAB up to which a background is the wanted colour."""
OUTSIDE: Final = 0.002
"""Share of the photo beyond the picture that nobody notices."""
HAIR_CUT: Final = 8
"""Mean of the upper row of the mask, 0..255, from which on hair is missing."""
SAMPLES: Final = 50
"""Places across and down at which the photo is held against the edges of the picture."""


@dataclass(frozen=True)
class Studio:
    """A portrait with its background, ready to be taken at any size.

    Attributes:
        pixels: The part of the picture around the photo, in colour, without alpha.
        corner: Where in the picture that part starts.
        color: `#RRGGBB` of the background.
        subject: Where the person is; None where the background stays as it is.
        missing: Shares of the photo beyond each edge of the picture that it passes.
    """

    pixels: "pyvips.Image"
    corner: tuple[int, int]
    color: str
    subject: Subject | None = None
    missing: dict[str, float] = field(default_factory=dict)

    def take(self, placement: Placement) -> "pyvips.Image":
        """The photo, with the background where the person is not."""
        photo = _cast(rendered(self.pixels, _moved(placement, self.corner)), self.pixels).copy_memory()
        cover = self.cover(placement)
        if cover is None:
            return photo
        person = matting.decontaminated(photo, cover)
        return backdrop.composed(person, cover, backdrop.plain(photo, self.color)).copy_memory()

    def cover(self, placement: Placement) -> "pyvips.Image | None":
        """Where in the photo the person is, 0..255; None where the background stays as it is."""
        if self.subject is None:
            return None
        mask, local = self.subject.mask, _moved(placement, self.corner)
        if "top" in self.missing:
            # Above the picture there is background, also where hair reaches its edge.
            mask, local = mask.embed(0, 2, mask.width, mask.height + 2), _moved(local, (0, -2))
        return rendered(mask, local).cast("uchar").copy_memory()

    def cuts_hair(self, placement: Placement) -> bool:
        """Whether the person reaches the upper edge of the photo."""
        cover = self.cover(placement)
        return cover is not None and "top" not in self.missing and bool(as_array(cover)[0].mean() > HAIR_CUT)


def studio(
    pixels: "pyvips.Image",
    landmarks: Landmarks,
    placement: Placement,
    color: str,
    run: Run,
    report: Callable[[float, str], None],
) -> Studio:
    """Find the person and decide whether the background must be replaced.

    Args:
        pixels: One frame in memory.
        landmarks: Of the face, in its pixels.
        placement: Where the photo is in it.
        color: `#RRGGBB` of the background.
        run: Runs the model that cuts out.
        report: Takes the share that is done, 0..1, and a message.

    Raises:
        InvalidSettings: The photo would show nothing of the picture.
    """
    part = _around(placement, pixels.width, pixels.height)
    body = as_color(pixels.crop(*part))
    if body.hasalpha():
        white = white_level(body)
        ink = [value * white / 255 for value in parse_color(color)[:3]]
        body = body.flatten(background=ink, max_alpha=white)
    body = body.copy_memory()
    corner = (part.left, part.top)
    missing = _missing(placement, pixels.width, pixels.height)
    made = Studio(body, corner, color, None, missing)
    if not missing and _is_plain(made.take(placement), color):
        return made
    likely = expected(landmarks, part)
    return replace(made, subject=subject_mask(body, run, report=report, likely=likely))


def expected(landmarks: Landmarks, part: Box) -> "np.ndarray":
    """How likely each place of a part of the picture shows the person, as far as the face tells.

    An upright head is an ellipse around the face, with room for hair that may be there or not; below the chin a neck
    widens to shoulders. Everything leans with the line from the chin to the crown.

    Returns:
        Height × width, float32 in 0..1, at most `WORKING_SIDE` a side.
    """
    scale = min(1.0, WORKING_SIDE / max(part.width, part.height))
    width, height = max(1, round(part.width * scale)), max(1, round(part.height * scale))
    chin, crown = landmarks.chin, landmarks.crown
    head = max(math.dist(chin, crown), 1e-6)
    lean_x, lean_y = (chin[0] - crown[0]) / head, (chin[1] - crown[1]) / head
    across = ((np.arange(width) + 0.5) * (part.width / width) + part.left - chin[0])[None, :] / head
    down = ((np.arange(height) + 0.5) * (part.height / height) + part.top - chin[1])[:, None] / head
    # In heights of the head: `aside` from its axis, `below` the chin.
    aside, below = np.abs(across * lean_y - down * lean_x), across * lean_x + down * lean_y
    face = _step(1 - np.hypot(aside / 0.36, (below + 0.5) / 0.53), 0.12)
    around = np.maximum(
        0.65 * _step(1 - np.hypot(aside / 0.5, (below + 0.52) / 0.62), 0.1),
        0.45 * _step(1 - np.hypot(aside / 0.64, (below + 0.45) / 0.8), 0.1),
    )
    hair = around * (below < 0.35)
    shoulders = np.clip(0.24 + 2.0 * (below - 0.08), 0.24, 0.9)
    body = _step(shoulders - aside, 0.08) * _step(below - 0.02, 0.05)
    return np.asarray(np.maximum(np.maximum(face, body), hair), np.float32)


def _step(distance: "np.ndarray", softness: float) -> "np.ndarray":
    """From 0 outside to 1 inside."""
    inside: np.ndarray = 1 / (1 + np.exp(-np.clip(distance / softness, -30, 30)))
    return inside


def _moved(placement: Placement, corner: tuple[int, int]) -> Placement:
    return replace(placement, origin=(placement.origin[0] - corner[0], placement.origin[1] - corner[1]))


def _cast(photo: "pyvips.Image", like: "pyvips.Image") -> "pyvips.Image":
    return photo.cast(like.format).copy(interpretation=like.interpretation)


def _around(placement: Placement, width: int, height: int) -> Box:
    """The part of the picture that the photo shows, and some more in which to find the person."""
    corners = placement.corners()
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    top, bottom = min(y for _, y in corners), max(y for _, y in corners)
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise InvalidSettings("'landmarks' lie outside the picture: each is 0 to 1 of its sides.", field="landmarks")
    across, down = AROUND * placement.width / placement.scale, AROUND * placement.height / placement.scale
    first = max(0, math.floor(left - across)), max(0, math.floor(top - down))
    last = min(width, math.ceil(right + across)), min(height, math.ceil(bottom + down))
    return Box(*first, last[0] - first[0], last[1] - first[1])


def _missing(placement: Placement, width: int, height: int) -> dict[str, float]:
    """By edge of the picture, the share of the photo that lies beyond it, where it can be seen."""
    middles = [(number + 0.5) / SAMPLES for number in range(SAMPLES)]
    seen = [placement.to_picture((x * placement.width, y * placement.height)) for y in middles for x in middles]
    beyond = {
        "left": sum(x < 0 for x, _ in seen),
        "top": sum(y < 0 for _, y in seen),
        "right": sum(x > width for x, _ in seen),
        "bottom": sum(y > height for _, y in seen),
    }
    shares = {edge: count / len(seen) for edge, count in beyond.items()}
    return {edge: share for edge, share in shares.items() if share > OUTSIDE}


def _is_plain(photo: "pyvips.Image", color: str) -> bool:
    """Whether what is beside and above the head has the wanted colour already."""
    lab = as_array(photo.colourspace("lab").cast("float"))
    height, width = lab.shape[:2]
    rim, upper = max(1, round(0.08 * width)), max(1, round(0.45 * height))
    seen = np.concatenate([lab[:upper, :rim].reshape(-1, 3), lab[:upper, -rim:].reshape(-1, 3)])
    ink = pyvips.Image.black(1, 1, bands=3).cast("uchar") + list(parse_color(color)[:3])
    wanted = as_array(ink.cast("uchar").copy(interpretation="srgb").colourspace("lab").cast("float"))[0, 0]
    distance = np.sqrt(((seen - wanted) ** 2).sum(1))
    return bool(np.percentile(distance, 98) <= PLAIN)
