"""Edit Metadata."""

import calendar
import difflib
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.metadata.changes import Edit, Position, Strip
from darkroom_tools.kit.unpublished import Unpublished

MOST_CHARACTERS: Final = 10_000
MOST_KEYWORDS: Final = 200
# Metres: EXIF counts centimetres in 32 bits.
HIGHEST: Final = 1_000_000
# XML has no way to write these, and EXIF text ends at a zero.
UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
DATE: Final = re.compile(
    r"(\d{4})[:-](\d\d)[:-](\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?)?"
)
OWN_TEXTS: Final = ("title", "description", "author", "copyright", "software")


def _writable(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"A text may have {MOST_CHARACTERS} characters, but got {len(text)}.")
    return UNWRITABLE.sub("", text).strip()


def _date(text: str) -> str:
    """A date as EXIF writes it, with its offset from UTC behind it where one is given."""
    if not text:
        return ""
    found = DATE.fullmatch(text.strip())
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6]) if found else (0,) * 6
    if not year or not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise ValueError(f"A date should be like '2024-05-31T18:30:00', but got {text[:40]!r}.")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"There is no such time of day: {text[:40]!r}.")
    zone = (found[7] if found else None) or ""
    offset = "+00:00" if zone == "Z" else f"{zone[:3]}:{zone[-2:]}" if zone else ""
    return f"{year:04}:{month:02}:{day:02} {hour:02}:{minute:02}:{second:02}{offset}"


def _within(most: float) -> Callable[[float], float]:
    """A check in code, for in the schema it would cost more than the words."""

    def check(value: float) -> float:
        if abs(value) > most:
            raise ValueError(f"It should be from {-most} to {most}, but got {value}.")
        return value

    return check


Text = Annotated[str, AfterValidator(_writable)]
Date = Annotated[str, AfterValidator(_date)]


class Gps(Settings):
    """A place."""

    aliases: ClassVar = {"latitude": "lat", "longitude": "lon", "lng": "lon", "altitude": "alt"}

    lat: Annotated[float, AfterValidator(_within(90))]
    lon: Annotated[float, AfterValidator(_within(180))]
    alt: Annotated[float, AfterValidator(_within(HIGHEST))] | None = None


class EditMetadata(Settings):
    """Fields to write; an empty text removes one."""

    aliases: ClassVar = {"imageDescription": "description", "artist": "author"}

    title: Text | None = None
    """Empty removes, as below"""

    description: Text | None = None
    """Caption"""

    author: Text | None = None
    """Several separated by ;"""

    copyright: Text | None = None
    """Notice"""

    keywords: list[Text] | None = None
    """Added to those there"""

    gps: Gps | None = None
    """Degrees, metres"""

    date_time: Date | None = None
    """When taken, ISO 8601"""

    keywords_mode: Unpublished[str] = Field(default="add", pattern="^(add|set)$")
    software: Unpublished[Text | None] = None
    gps_latitude: Unpublished[Annotated[float, AfterValidator(_within(90))] | None] = None
    gps_longitude: Unpublished[Annotated[float, AfterValidator(_within(180))] | None] = None
    gps_altitude: Unpublished[Annotated[float, AfterValidator(_within(HIGHEST))] | None] = None
    clear_gps: Unpublished[bool] = False
    date_time_original: Unpublished[Date | None] = None
    set_all_dates: Unpublished[Date | None] = None
    date_shift: Unpublished[str | None] = Field(default=None, pattern=r"^[+-]\d{1,2}:[0-5]\d$")
    fields_to_remove: Unpublished[list[str]] = Field(default=[], max_length=MOST_KEYWORDS)
    iptc_title: Unpublished[Text | None] = None
    iptc_headline: Unpublished[Text | None] = None
    iptc_city: Unpublished[Text | None] = None
    iptc_state: Unpublished[Text | None] = None
    iptc_country: Unpublished[Text | None] = None

    @field_validator("keywords", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        words = value.split(",") if isinstance(value, str) else value
        if isinstance(words, list) and len(words) > MOST_KEYWORDS:
            raise ValueError(f"At most {MOST_KEYWORDS} keywords are written, but got {len(words)}.")
        return words

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.gps_latitude is None) != (self.gps_longitude is None):
            raise ValueError("'gpsLatitude' and 'gpsLongitude' belong together.")
        if self.gps_altitude is not None and self.gps_latitude is None:
            raise ValueError("'gpsAltitude' needs 'gpsLatitude' and 'gpsLongitude'.")
        if not self.model_fields_set - {"keywords_mode"}:
            raise ValueError("Give at least one field to write, such as 'title', 'author' or 'keywords'.")
        return self


@tool(title="Edit Metadata", sequential=True, example={"title": "Evening", "author": "A. Smith"})
def edit_metadata(image: Image, settings: EditMetadata) -> Image:
    """Write title, author, copyright, keywords, place or date as EXIF, XMP and IPTC; pixels stay untouched.

    What is not named stays. IPTC is written where the file has it or an IPTC field is set. After a step that changed
    pixels only these fields are written. JPEG, PNG, WebP and GIF (XMP only) keep their pixels byte by byte; other
    formats are encoded anew.
    """
    removed, tags = _removed(settings.fields_to_remove)
    if settings.clear_gps or "gps" in removed:
        image = image.change_metadata(Strip(frozenset({"gps"})))
    iptc = {
        "title": settings.iptc_title,
        "headline": settings.iptc_headline,
        "city": settings.iptc_city,
        "state": settings.iptc_state,
        "country": settings.iptc_country,
    }
    texts = {**{name: "" for name in removed if name in OWN_TEXTS}, **_given(iptc)}
    texts |= _given({name: getattr(settings, name) for name in OWN_TEXTS})
    keywords = None if settings.keywords is None else tuple(word for word in settings.keywords if word)
    edit = Edit(
        texts=texts,
        keywords=() if "keywords" in removed and keywords is None else keywords,
        replace_keywords=settings.keywords_mode == "set" or "keywords" in removed,
        position=_position(settings),
        dates=_dates(settings),
        shift=_minutes(settings.date_shift),
        remove=tags,
        iptc=bool(_given(iptc)),
    )
    format = image.encoding.format or image.source.format
    image = image.change_metadata(edit)
    if edit.iptc and format in ("png", "webp", "gif", "avif", "heif"):
        return image.warn(f"{format.upper()} has no place for IPTC; its fields were written as XMP.")
    return image


def _given(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _position(settings: EditMetadata) -> Position | None:
    if settings.gps is not None:
        return Position(settings.gps.lat, settings.gps.lon, settings.gps.alt)
    if settings.gps_latitude is not None and settings.gps_longitude is not None:
        return Position(settings.gps_latitude, settings.gps_longitude, settings.gps_altitude)
    return None


def _dates(settings: EditMetadata) -> dict[str, str]:
    every, taken = settings.set_all_dates, settings.date_time
    dates = {
        "modified": taken if taken is not None else every,
        "taken": next((d for d in (settings.date_time_original, taken, every) if d is not None), None),
        "digitized": every,
    }
    return _given(dates)


def _minutes(shift: str | None) -> int:
    if shift is None:
        return 0
    hours, minutes = shift[1:].split(":")
    return (int(hours) * 60 + int(minutes)) * (-1 if shift.startswith("-") else 1)


def _removed(names: list[str]) -> tuple[frozenset[str], tuple[tuple[str, int], ...]]:
    """Our own fields and the EXIF tags among names of fields.

    Raises:
        InvalidSettings: There is no such field.
    """
    from PIL.ExifTags import GPSTAGS, TAGS

    known: dict[str, list[tuple[str, int]]] = {}
    for tag, name in TAGS.items():
        known.setdefault(str(name).casefold(), []).extend([("main", tag), ("exif", tag)])
    for tag, name in GPSTAGS.items():
        known.setdefault(str(name).casefold(), []).append(("gps", tag))
    own = {*OWN_TEXTS, "keywords", "gps"}
    tags: list[tuple[str, int]] = []
    for name in names:
        folded = name.casefold()
        if folded not in own and folded not in known:
            near = difflib.get_close_matches(folded, [*own, *known], 1)
            raise InvalidSettings(
                f"There is no field {name[:40]!r} to remove. Use EXIF names such as 'Make' or 'UserComment'.",
                field="fieldsToRemove",
                got=name[:40],
                nearest=near[0] if near else None,
            )
        tags += known.get(folded, [])
    return frozenset(name.casefold() for name in names) & own, tuple(tags)
