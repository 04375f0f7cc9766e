"""Image to Base64."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from darkroom_tools.base import File, Format, Image, Run, Settings, tool
from darkroom_tools.errors import OutputTooLarge
from darkroom_tools.kit.clean import clean_name
from darkroom_tools.kit.geometry import rounded
from darkroom_tools.kit.inputs import warnings_of
from darkroom_tools.kit.pixels import premultiplied, resized
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.shape import Shape, Shapes

WRITTEN: Final[Mapping[str, Format]] = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/gif": "gif",
}
# Media types whose name is not that of the format.
MEDIA_TYPES: Final = {
    "ico": "image/vnd.microsoft.icon",
    "jp2": "image/jp2",
    "ppm": "image/x-portable-pixmap",
    "psd": "image/vnd.adobe.photoshop",
    "tga": "image/x-tga",
}
WITH_QUALITY: Final = frozenset({"jpeg", "webp", "avif", "heif"})
INLINE_CHARACTERS: Final = 4_000
ROWS_IN_REPLY: Final = 20
MOST_CHARACTERS: Final = 64 * 2**20

Side = Annotated[int, Field(ge=0, le=100_000)]


class ImageToBase64(Settings):
    """What the text holds."""

    aliases: ClassVar = {"mimetype": "mimeType"}
    value_aliases: ClassVar = {
        "outputFormat": {"jpg": "jpeg"},
        "mimeType": {"image/jpg": "image/jpeg"},
        "format": {"dataUri": "data-uri", "base64": "plain"},
    }

    format: Literal["data-uri", "plain"] = "data-uri"
    """plain is base64 alone"""

    mime_type: Literal["image/jpeg", "image/png", "image/webp", "image/avif", "image/gif"] | None = None
    """Convert to this type first"""

    output_format: Unpublished[Literal["original", "jpeg", "png", "webp", "avif"]] = "original"
    """The same as mimeType, by the name of the format"""

    quality: Annotated[int, Field(ge=1, le=100)] = 80
    """Of a conversion"""

    max_width: Side = 0
    """Pixels, shrinks only; 0 is no limit"""

    max_height: Side = 0
    """Pixels"""

    @model_validator(mode="after")
    def _one_format(self) -> Self:
        named = self.output_format
        if self.mime_type is not None and named not in ("original", WRITTEN[self.mime_type]):
            raise ValueError(f"'mimeType' {self.mime_type!r} and 'outputFormat' {named!r} differ. Give one of them.")
        return self

    @property
    def wanted(self) -> Format | None:
        """The format to convert to, None to keep each picture's own."""
        if self.mime_type is not None:
            return WRITTEN[self.mime_type]
        return None if self.output_format == "original" else self.output_format


def _shape(_: ImageToBase64, __: Shapes) -> Shape:
    return Shape(0, 0, format="json")


@tool(
    title="Image to Base64",
    sequential=True,
    named=True,
    example={"mimeType": "image/webp", "maxWidth": 32},
    shape=_shape,
)
def image_to_base64(images: list[Image], settings: ImageToBase64, run: Run) -> File:
    """Write pictures as data URIs or base64 into a JSON file; the reply holds short ones only."""
    rows: list[dict[str, Any]] = []
    key = "dataUri" if settings.format == "data-uri" else "base64"
    characters = 0
    kept: set[str] = set()
    for number, image in enumerate(images, 1):
        run.progress((number - 1) / len(images), f"Image {number} of {len(images)}")
        prepared = _prepared(image, settings)
        data, media_type = _bytes_of(prepared, run)
        if prepared.original is not None:
            kept |= image.source.metadata
        head = f"data:{media_type};base64," if key == "dataUri" else ""
        size = len(head) + 4 * -(-len(data) // 3)
        characters += size
        _check(characters)
        original = image.source.original
        rows.append(
            {
                "filename": clean_name(original.name if original is not None else "", f"image {number}"),
                "mimeType": media_type,
                "width": prepared.width,
                "height": prepared.height,
                "originalSize": image.source.bytes,
                "encodedSize": size,
                "overheadPercent": round(100 * (size / image.source.bytes - 1), 1),
                key: head + base64.b64encode(data).decode("ascii"),
            }
        )
    text = json.dumps({"results": rows, "errors": []}, ensure_ascii=False)
    return File(
        *(text.encode(), "application/json", "json", _facts(rows, key, characters), warnings_of(images)),
        kept=tuple(sorted(kept)),
    )


def _prepared(image: Image, settings: ImageToBase64) -> Image:
    """The picture in the wanted size and encoding; as it came where nothing has to change."""
    scale = min(
        1.0,
        settings.max_width / image.width if settings.max_width else 1.0,
        settings.max_height / image.height if settings.max_height else 1.0,
    )
    prepared = image
    if scale < 1:
        width, height = max(1, rounded(image.width * scale)), max(1, rounded(image.height * scale))
        source = replace(image, pixels=image.reduced(scale)) if image.frames == 1 else image
        prepared = source.map_frames(lambda frame: premultiplied(frame, lambda p: resized(p, width, height)))
    format = settings.wanted or image.encoding.format or image.source.format
    asked = "quality" in settings.model_fields_set
    if scale == 1 and format == image.source.format and not asked:
        return image
    # Of a PNG or GIF a quality means fewer colours, which nobody gets without asking.
    quality = settings.quality if asked or format in WITH_QUALITY else image.encoding.quality
    return prepared.encode_as(format=settings.wanted or image.encoding.format, quality=quality)


def _bytes_of(image: Image, run: Run) -> tuple[bytes, str]:
    """The file of a picture, and its media type."""
    original = image.original
    if original is None:
        written = run.encode(image)
        return written.data, written.media_type
    # Decoded for nothing but to find damage, at a fraction of the size where that is cheaper.
    image.reduced(0.1).avg()
    return original.read(), MEDIA_TYPES.get(original.format, f"image/{original.format}")


def _check(characters: int) -> None:
    if characters > MOST_CHARACTERS:
        raise OutputTooLarge(
            f"The text would be over {MOST_CHARACTERS // 2**20} MiB. Send fewer images, or give 'maxWidth'.",
            got=characters,
            limit=MOST_CHARACTERS,
        )


def _facts(rows: list[dict[str, Any]], key: str, characters: int) -> dict[str, Any]:
    """What the reply shows: the texts themselves only while they are short all together."""
    shown = rows[:ROWS_IN_REPLY]
    if characters > INLINE_CHARACTERS:
        shown = [{name: value for name, value in row.items() if name != key} for row in shown]
    return {"results": shown, "images": len(rows)}
