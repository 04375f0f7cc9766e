"""Images and documentation as resources, prompts for real jobs, and completions for what goes into them."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    BlobResourceContents,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)
from support.mcp_room import Bench, open_bench, png

from darkroom.faces.mcp.server import build_server
from darkroom.principal import LOCAL
from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.gallery import gallery
from darkroom_prompts import load_prompts
from darkroom_prompts.load import parse_prompt
from darkroom_tools.kit.presets import social_presets
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

BOTH_ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])
TEMPLATE = ResourceTemplateReference(uri="darkroom://images/{id}")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, docs="# Darkroom\n\n> Tools.\n") as made:
        yield made


@BOTH_ERAS
async def test_an_image_is_read_by_its_address(bench: Bench, era: str) -> None:
    data = png(40, 30)
    handle = await bench.store.add(data)
    async with Client(build_server(bench.room), mode=era) as client:
        templates = (await client.list_resource_templates()).resource_templates
        (content,) = (await client.read_resource(f"darkroom://images/{handle}")).contents
    assert [template.uri_template for template in templates] == [
        "darkroom://images/{id}",
        "darkroom://workflows/{id}",
    ]
    assert isinstance(content, BlobResourceContents)
    assert content.mime_type == "image/png"
    assert base64.b64decode(content.blob) == data


async def test_an_image_too_large_for_a_message_comes_as_directions(bench: Bench) -> None:
    bench.links.base = "http://127.0.0.1:1349"
    handle = await bench.store.add(png(700, 700, noise=True))
    async with Client(build_server(bench.room)) as client:
        (content,) = (await client.read_resource(f"darkroom://images/{handle}")).contents
    assert isinstance(content, TextResourceContents)
    assert "http://127.0.0.1:1349/files/" in content.text
    assert "export_image" in content.text


@BOTH_ERAS
@pytest.mark.parametrize("uri", ["darkroom://images/img_none", "darkroom://nothing", "file:///etc/passwd"])
async def test_what_is_not_there_is_not_found_in_the_code_of_the_era(bench: Bench, era: str, uri: str) -> None:
    async with Client(build_server(bench.room), mode=era) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
    assert caught.value.code == (-32602 if era == "auto" else -32002)
    assert caught.value.data == {"uri": uri}


async def test_somebody_elses_image_is_not_found(bench: Bench) -> None:
    theirs = await bench.store.add(png(4, 3), owner="somebody-else")
    async with Client(build_server(bench.room)) as client:
        with pytest.raises(MCPError, match="not found"):
            await client.read_resource(f"darkroom://images/{theirs}")


async def test_the_documentation_is_a_resource(bench: Bench) -> None:
    async with Client(build_server(bench.room)) as client:
        (listed,) = (await client.list_resources()).resources
        (content,) = (await client.read_resource(listed.uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.text.startswith("# Darkroom")


@BOTH_ERAS
async def test_every_prompt_is_listed_and_can_be_filled_in(bench: Bench, era: str) -> None:
    sample = {"preset": "Instagram/Post (Square)"}
    async with Client(build_server(bench.room), mode=era) as client:
        listed = (await client.list_prompts()).prompts
        assert [prompt.name for prompt in listed] == sorted(load_prompts())
        assert len(listed) == 10
        for prompt in load_prompts().values():
            values = {a.name: a.default or sample.get(a.type, f"some {a.name}") for a in prompt.arguments}
            result = await client.get_prompt(prompt.name, values)
            (message,) = result.messages
            assert isinstance(message.content, TextContent)
            assert "{{" not in message.content.text
            assert all(value in message.content.text for value in values.values())


async def test_prompts_name_only_tools_that_exist() -> None:
    import re

    from darkroom.faces.mcp.server import managers

    known = {*managers(), *(tool.name for tool in builtin_tools().values()), "remove_background"}
    settings = {name for tool in builtin_tools().values() for name in tool.input_schema()["properties"]}
    words = {"similarity", "removed", "method", "exif", "gps", "backgroundColor"}
    for prompt in load_prompts().values():
        named = set(re.findall(r"`([^`]+)`", prompt.text))
        assert named <= known | settings | words, (prompt.name, named - known - settings - words)


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("share_safely", {}, "'image' is required"),
        ("share_safely", {"image": " "}, "'image' is required"),
        ("share_safely", {"image": "img_x", "colour": "red"}, "Unknown argument 'colour'"),
        ("web_ready", {"images": "img_x", "width": "wide"}, "whole number"),
        ("web_ready", {"images": "img_x", "width": "1"}, "at least 16"),
        ("web_ready", {"images": "img_x", "width": "100000"}, "at most 8000"),
        ("web_ready", {"images": "img_x", "format": "bmp"}, "one of webp, avif, jpeg"),
        ("share_safley", {}, "Did you mean 'share_safely'"),
    ],
)
async def test_a_prompt_says_what_is_wrong_with_its_arguments(
    bench: Bench, name: str, arguments: dict[str, str], complaint: str
) -> None:
    async with Client(build_server(bench.room)) as client:
        with pytest.raises(MCPError, match=complaint) as caught:
            await client.get_prompt(name, arguments)
    assert caught.value.code == -32602


@pytest.mark.parametrize(
    "source",
    [
        "No front matter",
        '+++\ntitle = "T"\ndescription = "D"\n+++\nUses {{ image }}, which nobody declared.',
        '+++\ntitle = "T"\ndescription = "D"\nauthor = "A"\n+++\nText.',
        '+++\ntitle="T"\ndescription="D"\n[[arguments]]\nname="a"\ntype="colour"\ndescription="d"\n+++\n{{ a }}',
        '+++\ntitle="T"\ndescription="D"\n[[arguments]]\nname="a"\ntype="choice"\ndescription="d"\n+++\n{{ a }}',
        '+++\ntitle="T"\ndescription="D"\n[[arguments]]\nname="a"\ntype="integer"\ndescription="d"\ndefault="x"\n+++\n{{a}}',
    ],
)
def test_a_malformed_prompt_file_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"broken|whole number"):
        parse_prompt("broken", source)


async def completed(client: Client, ref: Any, name: str, value: str) -> list[str]:
    result = await client.complete(ref, {"name": name, "value": value})
    return result.completion.values


@BOTH_ERAS
async def test_handles_complete_by_their_start_and_by_the_name_of_the_file(bench: Bench, era: str) -> None:
    cat = await bench.store.add(png(4, 3), name="my cat.png")
    dog = await bench.store.add(png(5, 3), name="a dog.png")
    prompt = PromptReference(name="share_safely")
    async with Client(build_server(bench.room), mode=era) as client:
        assert set(await completed(client, TEMPLATE, "id", "")) == {cat, dog}
        assert await completed(client, TEMPLATE, "id", cat[:12]) == [cat]
        assert await completed(client, prompt, "image", "dog") == [dog]
        assert await completed(client, PromptReference(name="web_ready"), "images", f"{cat}, a do") == [f"{cat}, {dog}"]
        assert await completed(client, prompt, "place", "x") == []
        assert await completed(client, PromptReference(name="nothing"), "x", "") == []


async def test_presets_workflows_and_choices_complete(bench: Bench) -> None:
    steps = [{"tool": "resize", "settings": {"width": 2}}]
    for name in ("Web photo", "Small"):
        await bench.room.workflows.save(LOCAL, WorkflowDocument.parse({"name": name, "steps": steps}))
    async with Client(build_server(bench.room)) as client:
        presets = await completed(client, PromptReference(name="social_post"), "preset", "")
        assert set(presets) == set(social_presets())
        youtube = await completed(client, PromptReference(name="social_post"), "preset", "youtube")
        assert youtube
        assert all("YouTube" in preset for preset in youtube)
        assert await completed(client, PromptReference(name="apply_workflow"), "workflow", "web-r") == [
            "gallery/web-ready"
        ]
        assert (await completed(client, PromptReference(name="apply_workflow"), "workflow", "web"))[0] == "Web photo"
        assert await completed(client, PromptReference(name="web_ready"), "format", "a") == ["avif"]


async def test_at_most_a_hundred_completions_are_shown(bench: Bench) -> None:
    for _ in range(3):
        await bench.store.add(png(4, 3))
    many = [(f"Workflow {n}", n) for n in range(101)]
    for name, n in many:
        document = {"name": name, "steps": [{"tool": "resize", "settings": {"width": n + 1}}]}
        await bench.room.workflows.save(LOCAL, WorkflowDocument.parse(document))
    async with Client(build_server(bench.room)) as client:
        result = await client.complete(PromptReference(name="apply_workflow"), {"name": "workflow", "value": ""})
        assert json.loads(result.completion.model_dump_json())["total"] == 101 + len(gallery())
    assert len(result.completion.values) == 100
    assert result.completion.has_more is True
