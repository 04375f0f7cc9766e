"""The file library over a real database and store; headers are read with Pillow instead of in a worker."""

import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image

from darkroom.engine.outcome import Outcome, Picture
from darkroom.intake import Intake, Resolved
from darkroom.library.arriving import Arrivals
from darkroom.library.files import Files
from darkroom.library.library import Library, insert_result, load_image
from darkroom.library.projects import Projects
from darkroom.library.quota import Quota
from darkroom.library.record import ImageRecord
from darkroom.library.rendition_cache import RenditionCache
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import images
from darkroom_tools.errors import InvalidImage
from darkroom_tools.plan import Plan

ANN, BEN = Principal("ann"), Principal("ben")


def png(seed: int, side: int = 8) -> bytes:
    """A small picture, another for each seed."""
    encoded = io.BytesIO()
    PIL.Image.new("RGB", (side, side), (seed % 256, seed // 256 % 256, 7)).save(encoded, "png")
    return encoded.getvalue()


@dataclass
class Headers:
    """Stands for the executor: reads headers."""

    blobs: BlobStore

    async def run(self, plan: Plan, digests: Sequence[str]) -> Any:
        assert plan == Plan()
        data = self.blobs.path(digests[0]).read_bytes()
        try:
            with PIL.Image.open(io.BytesIO(data)) as image:
                picture = Picture("png", "image/png", len(data), *image.size)
        except OSError as error:
            raise InvalidImage("The picture is damaged.") from error
        return SimpleNamespace(outcome=Outcome([picture]), digests=())


@dataclass
class FileRoom:
    """What a test works with; the clock is that of the projects."""

    database: Database
    blobs: BlobStore
    library: Library
    intake: Intake
    files: Files
    projects: Projects
    cache: RenditionCache
    clock: list[float]

    async def stored(self, data: bytes, name: str = "photo.png") -> Resolved:
        async def pieces() -> AsyncIterator[bytes]:
            yield data

        return await self.intake.receive(pieces(), name)

    async def receive(
        self, data: bytes, filename: str = "photo.png", owner: Principal = ANN, **options: Any
    ) -> ImageRecord:
        return await self.files.receive(owner, await self.stored(data, filename), **options)

    async def result(
        self, parent: ImageRecord | None, data: bytes, name: str = "made.png", owner: Principal = ANN, **options: Any
    ) -> ImageRecord:
        """What the tool `resize` made."""
        digest, handle = self.blobs.put(data), new_id("img")
        picture = Picture("png", "image/png", len(data), 4, 3)
        steps = [{"id": "resize", "tool": "resize", "settings": {"width": 4}, "images": {"image": ["input:0"]}}]
        source = parent.id if parent else None
        return await self.database.write(
            lambda c: insert_result(
                c, owner.id, handle, source, digest, picture, "resize", steps, {"quality": 80}, name, **options
            )
        )

    async def age(self, record: ImageRecord, seconds: float) -> None:
        """Make it so much older."""
        aged = images.update().where(images.c.id == record.id).values(created_at=record.created_at - seconds)
        await self.database.write(lambda connection: connection.execute(aged))

    async def look(self, record: ImageRecord) -> ImageRecord:
        """The image as it is now."""
        return await self.database.read(lambda connection: load_image(connection, record.owner, record.id))

    async def shown(self, owner: Principal = ANN, **options: Any) -> list[str]:
        """Names on the first page."""
        return [record.name for record in (await self.files.page(owner, **options))[0]]

    def bytes_stored(self) -> set[str]:
        """Digests of all stored bytes."""
        return {path.name for path in self.blobs.path("0" * 64).parents[2].glob("??/??/*")}


@asynccontextmanager
async def file_room(folder: Path, *, quota: int = 0) -> AsyncIterator[FileRoom]:
    """A file library on an empty folder; an owner may have `quota` bytes, 0 for no limit."""
    blobs = BlobStore(folder / "blobs", floor_bytes=0)
    clock = [1_000.0]
    async with Database(f"sqlite:///{folder}/files.db") as database:
        cache = RenditionCache(folder / "renditions")
        library = Library(database, blobs, cache.drop)
        intake = Intake(blobs, 1_000_000, library.resolve)
        arrivals = Arrivals(blobs, Headers(blobs), Quota(quota))  # type: ignore[arg-type]
        files = Files(database, library, arrivals)
        projects = Projects(database, lambda: clock[0])
        yield FileRoom(database, blobs, library, intake, files, projects, cache, clock)
