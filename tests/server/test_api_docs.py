"""The page to try the API on: all of it from this server, under a strict policy, with what others wrote unchanged."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import httpx2
import pytest
import yaml
from support.processes import Served, serving

from darkroom.web import api_document

VENDORED = files("darkroom.faces.docs") / "swagger_ui"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data")) as served:
        yield served


def manifest() -> dict[str, Any]:
    return json.loads((VENDORED / "manifest.json").read_text(encoding="utf-8"))


def test_what_others_wrote_is_as_they_published_it() -> None:
    told = manifest()
    assert (told["name"], told["licence"]) == ("swagger-ui-dist", "Apache-2.0")
    assert {entry["stored"] for entry in told["files"].values()} | {"manifest.json"} == {
        path.name for path in VENDORED.iterdir()
    }
    for name, entry in told["files"].items():
        data = (VENDORED / entry["stored"]).read_bytes()
        data = gzip.decompress(data) if entry["stored"].endswith(".gz") else data
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry["sha256"], entry["bytes"]), name
    assert "Apache License" in (VENDORED / "LICENSE").read_text(encoding="utf-8")


def test_it_adds_less_than_half_a_megabyte() -> None:
    assert sum(len(path.read_bytes()) for path in VENDORED.iterdir()) < 500_000


def test_the_document_is_the_same_in_yaml_and_json(server: Served) -> None:
    in_yaml = httpx2.get(f"{server.url}/api/v1/openapi.yaml")
    in_json = httpx2.get(f"{server.url}/openapi.json")
    assert in_yaml.headers["content-type"] == "application/yaml"
    assert in_json.headers["content-type"] == "application/json"
    assert yaml.safe_load(in_yaml.text) == in_json.json() == api_document()
    assert not re.search(r"[:-] [&*]id\d", in_yaml.text)


@pytest.mark.parametrize("path", ["/api/docs", "/api/docs/", "/docs"])
def test_the_page_loads_nothing_from_elsewhere(server: Served, path: str) -> None:
    page = httpx2.get(f"{server.url}{path}")
    assert page.status_code == 200
    loaded = re.findall(r'<(?:script src|link rel="stylesheet" href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    answers = [httpx2.get(f"{server.url}{name}") for name in loaded]
    assert {(answer.status_code, answer.headers["content-type"].partition(";")[0]) for answer in answers} == {
        (200, "text/css"),
        (200, "text/javascript"),
    }
    assert "http://" not in page.text
    assert "https://" not in page.text
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_its_files_come_compressed_to_whoever_takes_that(server: Served, accepted: str) -> None:
    answer = httpx2.get(f"{server.url}/api/docs/swagger-ui-bundle.js", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding", "identity") == accepted
    assert answer.headers["vary"] == "accept-encoding"
    expected = manifest()["files"]["swagger-ui-bundle.js"]["sha256"]
    assert hashlib.sha256(answer.content).hexdigest() == expected


@pytest.mark.parametrize("name", ["page.html", "manifest.json", "LICENSE", "..%2f__init__.py", "swagger-ui.js"])
def test_no_other_file_is_handed_out(server: Served, name: str) -> None:
    answer = httpx2.get(f"{server.url}/api/docs/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"
