"""What authorities ask of a passport photo, as far as anybody has written it down here."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from darkroom_tools.kit.density import pixels_of
from darkroom_tools.settings import nearest

__all__ = ["ADVICE", "CUSTOM", "PassportSpec", "custom_spec", "find_spec", "passport_specs", "print_sizes"]

ADVICE: Final = "Check the rules of your authority before you use the photo."
CUSTOM: Final = "CUSTOM"
"""Code of a photo of any size."""

HAIR: Final = 0.025
"""Share of the photo's height that stays free above the crown where the range of the head allows it: hair is higher."""

ROOM_ACROSS: Final = 1.4
"""Heights of a photo in its width from which on a head of the usual height has room at its sides."""

CROWN_OF_HEAD: Final = 0.476
"""Share of the head, chin to crown, that lies above the eye line of an upright adult face."""


@dataclass(frozen=True, slots=True)
class PassportSpec:
    """The rules for one kind of photo.

    Attributes:
        code: ISO 3166-1 alpha-2, `EU` or `CUSTOM`.
        name: Of the country in English.
        region: Part of the world.
        width_mm: Width on paper.
        height_mm: Height on paper.
        head: Least and most height of the head, chin to crown, as shares of the photo's height.
        eye_from_bottom: Height of the eye line above the lower edge, as a share of the photo's height.
        backgrounds: Colours that are accepted behind the head; the first is used.
        verified_on: ISO date on which somebody compared the entry with the authority's rules; None if nobody has.
        note: What is known to be uncertain.
    """

    code: str
    name: str
    region: str
    width_mm: float
    height_mm: float
    head: tuple[float, float]
    eye_from_bottom: float
    backgrounds: tuple[str, ...]
    verified_on: str | None
    note: str

    @property
    def head_ratio(self) -> float:
        """The height of the head to aim at: the middle of the range, or lower in it where the hair would be cut."""
        low, high = self.head
        with_hair = (1 - self.eye_from_bottom - HAIR) / CROWN_OF_HEAD
        return max(low, min((low + high) / 2, with_hair))

    def pixels(self, density: float) -> tuple[int, int]:
        """Width and height of the photo at so many pixels an inch."""
        return pixels_of(self.width_mm, density), pixels_of(self.height_mm, density)

    def to_wire(self) -> dict[str, Any]:
        """The rules as a reply shows them."""
        return {
            "code": self.code,
            "name": self.name,
            "region": self.region,
            "headRatio": list(self.head),
            "eyeFromBottom": self.eye_from_bottom,
            "backgrounds": list(self.backgrounds),
            "verifiedOn": self.verified_on,
            "note": f"{self.note} {ADVICE}",
        }


@functools.cache
def passport_specs() -> Mapping[str, PassportSpec]:
    """All rules by code."""
    return MappingProxyType({code: _spec(code, entry) for code, entry in _data()["countries"].items()})


def find_spec(code: str) -> PassportSpec:
    """The rules of a country by its code or English name, whatever the case.

    Raises:
        ValueError: Unknown; the text holds the nearest and all codes.
    """
    wanted = code.strip()
    found = passport_specs().get(wanted.upper())
    if found is not None:
        return found
    by_name = {spec.name: spec for spec in passport_specs().values()}
    named = {name.casefold(): spec for name, spec in by_name.items()}.get(wanted.casefold())
    if named is not None:
        return named
    near = nearest(wanted, list(by_name)) if len(wanted) > 2 else nearest(wanted, list(passport_specs()))
    hint = ""
    if near is not None:
        spec = by_name.get(near) or passport_specs()[near]
        hint = f" Did you mean {spec.code} ({spec.name})?"
    raise ValueError(
        f"Unknown country {wanted[:60]!r}.{hint} Known codes: {', '.join(passport_specs())}; or 'custom' with "
        "'customWidthMm' and 'customHeightMm'."
    )


def custom_spec(width_mm: float, height_mm: float) -> PassportSpec:
    """Rules for a photo of any size: the head as most countries want it, smaller where the photo is narrow."""
    room = min(1.0, ROOM_ACROSS * width_mm / height_mm)
    head = (round(0.7 * room, 4), round(0.8 * room, 4))
    note = "A size of your own, with head and eyes as most countries want them."
    return PassportSpec(CUSTOM, "Custom", "any", width_mm, height_mm, head, 0.63, ("#FFFFFF",), None, note)


@functools.cache
def print_sizes() -> Mapping[str, tuple[float, float]]:
    """Width and height in millimetres of the papers to print on, upright."""
    sizes = {name: (entry["sizeMm"][0], entry["sizeMm"][1]) for name, entry in _data()["prints"].items()}
    return MappingProxyType(sizes)


@functools.cache
def _data() -> Mapping[str, Any]:
    text = files("darkroom_tools").joinpath("data", "passports.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def _spec(code: str, entry: Mapping[str, Any]) -> PassportSpec:
    width, height = entry["sizeMm"]
    low, high = entry["head"]
    return PassportSpec(
        code,
        entry["name"],
        entry["region"],
        width,
        height,
        (low, high),
        entry["eyeFromBottom"],
        tuple(entry["backgrounds"]),
        entry["verifiedOn"],
        entry["note"],
    )
