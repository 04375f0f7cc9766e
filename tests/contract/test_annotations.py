"""What every tool promises of itself is true: that it only reads, only adds, destroys, or may be repeated."""

import io
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from mcp import Client
from mcp_types import CallToolResult
from support.calls import arguments_of
from support.odd import UNREADABLE, endless_picture
from support.pictures import noise

from darkroom.app import Darkroom
from darkroom.faces.mcp.listing import describe, describe_manager
from darkroom.faces.mcp.server import managers
from darkroom.principal import Principal
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio
Connect = Callable[..., AbstractAsyncContextManager[Client]]
Store = Callable[[], Awaitable[tuple[dict[str, Any], dict[str, Any], set[str]]]]
TOOLS = {tool.name: tool for tool in builtin_tools().values()}
HINTS = {
    definition.name: definition.annotations
    for definition in (
        *(describe(tool, fetch=True) for tool in TOOLS.values()),
        *(describe_manager(manager, fetch=True) for manager in managers().values()),
    )
    if definition.annotations is not None
}
READ_ONLY = [name for name, hints in HINTS.items() if hints.read_only_hint]
CHANGING = [name for name in HINTS if name not in READ_ONLY]
ADDITIVE = [name for name in CHANGING if not HINTS[name].destructive_hint]
REPEATABLE = [name for name in CHANGING if HINTS[name].idempotent_hint]
NUMBERS = itertools.count()


@dataclass
class Stage:
    """A client, and what its calls can work on."""

    client: Client
    folder: Path
    image: str
    job: str

    async def use(self, name: str, image: str | None = None) -> CallToolResult:
        """Call a tool as its example does, on what is here."""
        image = image or self.image
        if name in TOOLS:
            return await self.client.call_tool(name, arguments_of(TOOLS[name], image, self.folder))
        # An overwrite is what the hint of export_image speaks of.
        here = {"image": image, "images": [image], "job": self.job, "path": str(self.folder / "out.png")}
        extra = {"overwrite": True} if name == "export_image" else {}
        example = with_image(managers()[name].example, image)
        return await self.client.call_tool(name, {**{key: here.get(key, example[key]) for key in example}, **extra})


def with_image(value: Any, image: str) -> Any:
    """An example with a real handle in place of `img_…`, however deep."""
    if isinstance(value, Mapping):
        return {key: with_image(each, image) for key, each in value.items()}
    if isinstance(value, list):
        return [with_image(each, image) for each in value]
    return image if value == "img_…" else value


def fresh_picture() -> bytes:
    """A PNG that no test has used before."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise(24, 18, seed=next(NUMBERS))).save(buffer, "png")
    return buffer.getvalue()


async def staged(client: Client, folder: Path) -> Stage:
    """A client with an image and a finished job in the library."""
    paths = [folder / f"fresh-{next(NUMBERS)}.png" for _ in range(2)]
    for path in paths:
        path.write_bytes(fresh_picture())
    steps = [{"tool": "rotate", "settings": {"angle": 90}}]
    reply = await client.call_tool("run_pipeline", {"steps": steps, "images": [str(path) for path in paths]})
    assert reply.structured_content is not None
    return Stage(client, folder, reply.structured_content["items"][0]["image"], reply.structured_content["job"])


@pytest.mark.parametrize("name", READ_ONLY)
async def test_a_read_only_tool_leaves_all_as_it_was(connect: Connect, store: Store, pictures: Path, name: str) -> None:
    (pictures / "outside.png").write_bytes(fresh_picture())
    (pictures / "damaged.png").write_bytes(UNREADABLE["damaged"])
    async with connect() as client:
        stage = await staged(client, pictures)
        before = await store(), {path.name for path in pictures.iterdir()}
        reply = await stage.use(name)
        if name in TOOLS:
            # What comes from outside is read and forgotten, whether it can be read or not.
            outside = await stage.use(name, str(pictures / "outside.png"))
            damaged = await stage.use(name, str(pictures / "damaged.png"))
            assert (outside.is_error, damaged.is_error) == (False, True)
        after = await store(), {path.name for path in pictures.iterdir()}
    assert not reply.is_error, reply.content
    assert after == before


@pytest.mark.parametrize("name", ADDITIVE)
async def test_a_tool_that_is_not_destructive_only_adds(
    connect: Connect, store: Store, pictures: Path, name: str
) -> None:
    async with connect() as client:
        stage = await staged(client, pictures)
        images, workflows, blobs = await store()
        files = {path.name: path.read_bytes() for path in pictures.iterdir()}
        reply = await stage.use(name)
        images_after, workflows_after, blobs_after = await store()
    assert not reply.is_error, reply.content
    assert images.items() <= images_after.items()
    assert workflows.items() <= workflows_after.items()
    assert blobs <= blobs_after
    assert files.items() <= {path.name: path.read_bytes() for path in pictures.iterdir()}.items()


@pytest.mark.parametrize("name", REPEATABLE)
async def test_repeating_an_idempotent_call_changes_nothing_more(
    connect: Connect, store: Store, pictures: Path, name: str
) -> None:
    async with connect() as client:
        stage = await staged(client, pictures)
        await stage.use("save_workflow")
        await stage.use(name)
        once = await store()
        await stage.use(name)
        twice = await store()
    assert without_times(twice) == without_times(once)


def without_times(stored: tuple[dict[str, Any], dict[str, Any], set[str]]) -> Any:
    images, workflows, blobs = stored
    return images, {key: row[:-2] for key, row in workflows.items()}, blobs


async def deletes_an_image(stage: Stage, store: Store) -> bool:
    await stage.use("delete_image")
    return stage.image not in (await store())[0]


async def overwrites_a_file(stage: Stage, _store: Store) -> bool:
    out = stage.folder / "out.png"
    out.write_bytes(b"mine")
    await stage.use("export_image")
    return out.read_bytes() != b"mine"


async def deletes_a_workflow(stage: Stage, store: Store) -> bool:
    await stage.use("save_workflow")
    before = (await store())[1]
    await stage.use("delete_workflow")
    return (await store())[1].keys() < before.keys()


async def drops_work(stage: Stage, _store: Store) -> bool:
    await stage.use("cancel_job")
    job = await stage.client.call_tool("get_job", {"job": stage.job})
    return job.is_error and job.structured_content is not None and job.structured_content["state"] == "canceled"


async def forgets_a_job(stage: Stage, _store: Store) -> bool:
    await stage.client.call_tool("rate_job", {"job": stage.job, "delete": True})
    return (await stage.client.call_tool("get_job", {"job": stage.job})).is_error


DESTROYS: dict[str, Callable[[Stage, Store], Awaitable[bool]]] = {
    "delete_image": deletes_an_image,
    "export_image": overwrites_a_file,
    "delete_workflow": deletes_a_workflow,
    "cancel_job": drops_work,
    "rate_job": forgets_a_job,
}
"""What each tool with a destructive hint can destroy."""


def test_what_each_destructive_tool_destroys_is_known() -> None:
    assert set(DESTROYS) == set(CHANGING) - set(ADDITIVE)


@pytest.mark.parametrize("name", DESTROYS)
async def test_a_destructive_tool_needs_its_hint(
    connect: Connect, store: Store, room: Darkroom, caller: Principal, pictures: Path, name: str
) -> None:
    (pictures / "endless.png").write_bytes(endless_picture())
    async with connect() as client:
        stage = await staged(client, pictures)
        if name == "cancel_job":
            running = await room.jobs.accept(caller, TOOLS["rotate"], {"image": "endless.png", "angle": 90})
            stage.job = running.id
        assert await DESTROYS[name](stage, store)
