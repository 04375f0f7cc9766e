"""Pictures in the form in which they are shown: thumbnails, previews, and the formats that everything reads."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from darkroom.engine.outcome import Picture
from darkroom.engine.sniff import DOCUMENTS
from darkroom.errors import NotFound
from darkroom.library.library import Library
from darkroom.library.record import ImageRecord
from darkroom.library.rendition_cache import RenditionCache
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom_tools.errors import InvalidSettings, UnsupportedFormat
from darkroom_tools.plan import Plan, Step, input_ref, step_ref

__all__ = ["KINDS", "Rendition", "Renditions", "rendition_plan"]

Rendition = Literal["thumbnail", "jpg", "png", "webp"]
KINDS: Final[tuple[Rendition, ...]] = get_args(Rendition)
Render = Callable[[Principal, str, Plan], Awaitable[tuple[bytes, Picture]]]

GONE: Final = "The file of this picture is gone. Hand the picture in again."
PDF_DPI: Final = 150
SVG_DPI: Final = 96
"""At which a CSS pixel is a pixel."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What a rendition is: its format, the box that it fits into, and whether it is for looking at only."""

    format: str
    media_type: str
    quality: int | None
    box: tuple[int, int] | None = None


_FORMS: Final[Mapping[Rendition, _Form]] = {
    "thumbnail": _Form("jpeg", "image/jpeg", 80, (300, 1200)),
    "jpg": _Form("jpeg", "image/jpeg", 92),
    "png": _Form("png", "image/png", None),
    "webp": _Form("webp", "image/webp", 80, (1200, 1200)),
}


def rendition_plan(kind: Rendition, format: str) -> Plan:
    """The steps from a picture of that format to its rendition; of a PDF it shows the first page.

    A picture is upright, never enlarged, and lies on white where the rendition has no transparency.
    """
    form = _FORMS[kind]
    encoded: dict[str, Any] = {"format": form.format, **({"quality": form.quality} if form.quality else {})}
    ground = {"background": "#ffffff"} if form.format == "jpeg" else {}
    if format == "svg":
        size = {"width": form.box[0], "height": form.box[1]} if form.box else {"dpi": SVG_DPI}
        return Plan((Step("draw", "svg-to-raster", {**size, **encoded, **ground}, {"svg": (input_ref(0),)}),))
    if format == "pdf":
        # Pages are drawn on white in any case.
        pages = {"pages": "1", **({"longestSide": form.box[0]} if form.box else {"dpi": PDF_DPI})}
        return Plan((Step("draw", "pdf-to-image", {**pages, **encoded}, {"pdf": (input_ref(0),)}),))
    steps, last = [], input_ref(0)
    if form.box:
        fit = {"width": form.box[0], "height": form.box[1], "fit": "inside", "withoutEnlargement": True}
        steps, last = [Step("fit", "resize", fit, {"image": (last,)})], step_ref("fit")
    return Plan((*steps, Step("encode", "convert", encoded, {"image": (last,)})))


class Renditions:
    """Renditions of the images of all owners; each is made once, however many ask for it at once.

    Args:
        library: Finds images.
        blobs: Where their bytes are.
        cache: Where renditions stay.
        render: Runs a plan on an image of a principal in a worker: `Jobs.render`.
    """

    def __init__(self, library: Library, blobs: BlobStore, cache: RenditionCache, render: Render) -> None:
        self._library = library
        self._blobs = blobs
        self._cache = cache
        self._render = render
        self._making: dict[tuple[str, str], asyncio.Task[Path]] = {}

    async def get(self, principal: Principal, handle: str, kind: str) -> tuple[Path, str]:
        """The file of a rendition, and its media type.

        Args:
            kind: `thumbnail` (JPEG, 300 pixels wide), `webp` (for looking at, up to 1200 pixels), or `jpg` or `png` in
                full size. A picture that has the format already is answered with its own file.

        Raises:
            NotFound: There is no such image of the principal, or its file is gone.
            UnsupportedFormat: The file is no picture.
            InvalidSettings: There is no such kind.
            Overloaded: No worker was free for 30 seconds.
            StorageFull: The disk is full.
            DarkroomError: What the worker met.
        """
        return await self.of(await self._library.get(principal, handle), kind)

    async def of(self, record: ImageRecord, kind: str) -> tuple[Path, str]:
        """As `get`, for an image that its caller may see.

        Raises:
            DarkroomError: As `get`.
        """
        if kind not in KINDS:
            raise InvalidSettings(f"There is no rendition {kind[:40]!r}. There are: {', '.join(KINDS)}.", got=kind[:40])
        form = _FORMS[kind]
        own = self._blobs.path(record.sha256)
        there, found = await asyncio.to_thread(lambda: (own.exists(), self._cache.find(record.sha256, kind)))
        if not there:
            raise NotFound(GONE)
        if _is_already(record, form):
            return own, record.media_type
        if record.width is None and record.format not in DOCUMENTS:
            raise UnsupportedFormat(
                f"A {record.format.upper()} file is no picture that can be shown. Download the file itself.",
                got=record.format,
            )
        return found or await self._make_once(record, kind), form.media_type

    async def sweep(self) -> int:
        """Remove renditions whose picture is gone, and the oldest of those that are too many; how many."""
        return await asyncio.to_thread(self._cache.sweep, self._blobs.exists)

    async def _make_once(self, record: ImageRecord, kind: Rendition) -> Path:
        key = (record.sha256, kind)
        if key not in self._making:
            making = self._making[key] = asyncio.create_task(self._make(record, kind))
            making.add_done_callback(lambda task: self._made(key, task))
        # Shielded, because others may wait for it when the one who asked first goes away.
        return await asyncio.shield(self._making[key])

    def _made(self, key: tuple[str, str], task: "asyncio.Task[Path]") -> None:
        del self._making[key]
        if not task.cancelled():
            task.exception()  # seen: it is raised in `_make_once`, unless everybody went away

    async def _make(self, record: ImageRecord, kind: Rendition) -> Path:
        data, _ = await self._render(Principal(record.owner), record.id, rendition_plan(kind, record.format))
        return await asyncio.to_thread(self._keep, record.sha256, kind, data)

    def _keep(self, sha256: str, kind: Rendition, data: bytes) -> Path:
        path = self._cache.put(sha256, kind, data)
        if not self._blobs.exists(sha256):  # deleted meanwhile, and with it all its renditions but this one
            self._cache.drop(sha256)
            raise NotFound(GONE)
        return path


def _is_already(record: ImageRecord, form: _Form) -> bool:
    """Whether the file itself is what is wanted."""
    if record.format != form.format:
        return False
    if form.box is None:
        return True
    fits = (record.width or 0) <= form.box[0] and (record.height or 0) <= form.box[1]
    return fits and form.format == "webp"
