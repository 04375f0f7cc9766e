"""The generated documentation: readable by programs, linked, and true: every example call in it works."""

import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from llms_txt import parse_llms_file
from mcp import Client, StdioServerParameters
from support.image_engine import serving_images
from support.odd import TEST_DOCUMENTS
from support.onnx_models import install, stand_ins
from support.processes import PHOTOS, Served, darkroom, serving

from darkroom.docs import llms_full_txt, llms_txt
from darkroom.web import DIALECTS, all_pages, api_document

pytestmark = pytest.mark.anyio

# What an example stands on must be there before it: a job, a workflow; what it takes away goes last.
LAST = [
    "run_pipeline",
    "save_workflow",
    "list_workflows",
    "run_workflow",
    "delete_workflow",
    "get_job",
    "cancel_job",
    "delete_image",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data")) as served:
        yield served


def calls() -> list[dict[str, Any]]:
    """The example calls in llms-full.txt, as a reader finds them."""
    found = re.findall(
        r"^Example call:\n\n```json\n(.*?)\n```$", llms_full_txt(all_pages(), api_document()), re.MULTILINE | re.DOTALL
    )
    return sorted(
        (json.loads(text) for text in found), key=lambda call: LAST.index(call["name"]) if call["name"] in LAST else -1
    )


async def test_the_index_has_the_form_of_llmstxt_org() -> None:
    parsed = parse_llms_file(llms_txt(all_pages(), api_document()))
    assert parsed.title == "Darkroom"
    assert parsed.summary.startswith("The image tool server for agents")
    linked = [link for section in parsed.sections.values() for link in section]
    assert {link.title for link in linked} == {
        *(page.name for page in all_pages()),
        *("API documentation", "openapi.yaml", "llms-full.txt", "workflow.schema.json"),
        *(group["name"] for group in api_document()["x-tagGroups"]),
    }
    assert {dialect.name for dialect in DIALECTS} <= {link.title for link in parsed.sections["REST"]}
    assert all(link.desc for link in linked)
    assert list(parsed.sections)[-1] == "Optional"


async def test_every_link_leads_somewhere(server: Served) -> None:
    index = httpx2.get(f"{server.url}/llms.txt")
    assert index.text == llms_txt(all_pages(), api_document())
    assert index.headers["content-type"] == "text/plain; charset=utf-8"
    links = [link.url for section in parse_llms_file(index.text).sections.values() for link in section]
    with httpx2.Client(base_url=server.url) as http:
        assert {link: http.get(link).status_code for link in links} == dict.fromkeys(links, 200)


async def test_one_text_holds_everything(server: Served) -> None:
    full = httpx2.get(f"{server.url}/llms-full.txt").text
    assert full == llms_full_txt(all_pages(), api_document())
    for page in all_pages():
        assert f"### {page.name}: {page.title}\n" in full
        assert json.dumps(page.schema, indent=2, ensure_ascii=False) in full
    headings = re.findall(r"^## (.+)\n\n(?!###)\S", full, re.MULTILINE)
    dialects = [f"REST: {group['name']}" for group in api_document()["x-tagGroups"]]
    tools = headings[: -len(dialects)]
    assert headings[len(tools) :] == dialects
    assert tools[-2:] == ["Management", "Workflows"]
    assert set(tools) == {page.category for page in all_pages()}


async def test_one_text_tells_every_address_once(server: Served) -> None:
    full = httpx2.get(f"{server.url}/llms-full.txt").text
    told = re.findall(r"^### ([A-Z]+) (/\S*) \((public|auth required)\)$", full, re.MULTILINE)
    assert len(told) == len(set(told))
    expected = set()
    for path, place in api_document()["paths"].items():
        for method, operation in place.items():
            access = "public" if operation.get("security") == [] else "auth required"
            expected.add((method.upper(), operation.get("x-tool", {}).get("path", path), access))
    assert set(told) == expected


@pytest.mark.parametrize("name", ["resize", "watermark-text", "watermark_text", "create-upload"])
async def test_every_tool_has_a_page(server: Served, name: str) -> None:
    page = httpx2.get(f"{server.url}/tools/{name}.md")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text.startswith(f"# {name.replace('-', '_')}: ")


async def test_the_server_publishes_what_the_documentation_says(server: Served) -> None:
    async with Client(f"{server.url}/mcp") as client:
        listed = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
    assert listed == {page.name: page.schema for page in all_pages()}


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Client]:
    """An agent on stdio that may name files of an empty folder."""
    (tmp_path / "desk").mkdir()
    (tmp_path / "data").mkdir()
    install(tmp_path / "data", stand_ins())
    command = ["-m", "darkroom", "mcp", "--data-dir", str(tmp_path / "data"), "--root", str(tmp_path / "desk")]
    with serving_images() as engine:
        env = {f"DARKROOM_{name.upper()}": value for name, value in engine.settings.items()}
        async with Client(StdioServerParameters(command=sys.executable, args=command, env=env)) as client:
            yield client
    darkroom("stop", "--data-dir", tmp_path / "data")


def with_handles(value: Any, handles: dict[str, str]) -> Any:
    """The arguments with real handles in place of `img_…` and `job_…`."""
    if isinstance(value, dict):
        return {key: with_handles(each, handles) for key, each in value.items()}
    if isinstance(value, list):
        return [with_handles(each, handles) for each in value]
    return handles.get(value, value) if isinstance(value, str) else value


async def test_every_example_call_works(agent: Client, tmp_path: Path) -> None:
    photo = tmp_path / "desk" / "coffee.jpg"
    photo.write_bytes((PHOTOS / "coffee.jpg").read_bytes())
    (tmp_path / "desk" / "rocket.jpg").write_bytes((PHOTOS / "rocket.jpg").read_bytes())
    first = (await agent.call_tool("rotate", {"image": str(photo), "angle": 90})).structured_content
    several = {"steps": [{"tool": "rotate", "settings": {"angle": 9}}], "images": ["coffee.jpg", "rocket.jpg"]}
    batch = (await agent.call_tool("run_pipeline", several)).structured_content
    handles = {"img_…": first["source"], "job_…": batch["job"]}
    documented = calls()
    assert [call["name"] for call in documented if call["name"] in LAST] == LAST
    assert {call["name"] for call in documented} == {page.name for page in all_pages()}
    for format, data in TEST_DOCUMENTS.items():
        (tmp_path / "desk" / f"document.{format}").write_bytes(data)
    for call in documented:
        documents = {f: f"document.{f}" for f in TEST_DOCUMENTS if f in call["arguments"]}
        result = await agent.call_tool(call["name"], {**with_handles(call["arguments"], handles), **documents})
        assert not result.is_error, (call, result.content)


async def test_stale_files_are_named_and_written_anew(tmp_path: Path) -> None:
    assert darkroom("docs", "--check", cwd=tmp_path).returncode == 1
    assert darkroom("docs", cwd=tmp_path).stdout == "wrote llms.txt\nwrote llms-full.txt\nwrote workflow.schema.json\n"
    assert darkroom("docs", "--check", cwd=tmp_path).returncode == 0
    (tmp_path / "llms.txt").write_text("old")
    stale = darkroom("docs", "--check", cwd=tmp_path)
    assert stale.returncode == 1
    assert stale.stderr == "darkroom: Stale: llms.txt. Run `darkroom docs`.\n"
    assert darkroom("docs", cwd=tmp_path).stdout == "wrote llms.txt\n"
    assert darkroom("docs", cwd=tmp_path).stdout == ""
