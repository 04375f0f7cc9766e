"""The cards of models: well-formed, honest about licences, and what tools rely on."""

import hashlib
import re
import tomllib
from collections import Counter
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from darkroom_tools.models import Card, best_installed, card, cards, cards_for, missing
from darkroom_tools.registry import builtin_tools

FILES = sorted(Path(str(resources.files("darkroom_tools"))).joinpath("data", "models").glob("*.toml"))
TASKS = [file.stem for file in FILES]
ALL = list(cards().values())
EACH = pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
LICENSE = re.compile(r"[A-Za-z0-9]+([.+-][A-Za-z0-9]+)*( (AND|OR|WITH) [A-Za-z0-9]+([.+-][A-Za-z0-9]+)*)*")
LIMITED = re.compile(r"-NC(-|$)|S-Lab|non-?commercial", re.IGNORECASE)
MOST_BYTES = 2**31 - 1


def test_no_id_stands_in_two_files() -> None:
    ids = Counter(model for file in FILES for model in tomllib.loads(file.read_text("utf-8")))
    assert [model for model, count in ids.items() if count > 1] == []
    assert set(ids) == set(cards())


@EACH
def test_a_card_is_well_formed(each: Card) -> None:
    assert re.fullmatch(r"(?=.{1,40}$)[a-z0-9_-]+(\.[a-z0-9_-]+)*", each.id)
    assert each.task in TASKS
    assert each.title == each.title.strip() != ""
    assert re.fullmatch(r"[A-Za-z0-9][\w.-]*\.onnx", each.file)
    assert LICENSE.fullmatch(each.license)
    assert each.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", each.sha256)
    assert each.md5 is None or re.fullmatch(r"[0-9a-f]{32}", each.md5)
    assert each.bytes is None or 0 < each.bytes <= MOST_BYTES


@EACH
def test_sources_are_https_and_end_in_the_files_name(each: Card) -> None:
    assert len(set(each.sources)) == len(each.sources)
    for source in each.sources:
        parts = urlsplit(source)
        assert (parts.scheme, parts.username, parts.port) == ("https", None, None)
        assert parts.hostname
        assert parts.path.rpartition("/")[2] == each.file, "a file that somebody downloads is known by its name"


@EACH
def test_a_licence_that_forbids_commercial_use_is_marked(each: Card) -> None:
    if LIMITED.search(each.license):
        assert not each.commercial


@EACH
def test_arrays_and_numbers_fit_together(each: Card) -> None:
    assert each.inputs
    assert each.outputs
    for tensor in (*each.inputs, *each.outputs):
        assert all(isinstance(side, str) or side > 0 for side in tensor.shape)
    assert len(each.mean) == len(each.deviation)
    assert all(value > 0 for value in each.deviation)
    assert each.divide >= 0
    assert each.scale >= 1
    assert each.multiple >= 1
    assert each.margin >= 0
    assert each.tile == 0 or each.tile % each.multiple == 0


@EACH
def test_a_half_precision_sibling_is_the_same_model(each: Card) -> None:
    if each.half is None:
        return
    half = card(each.half)
    same = ("task", "license", "commercial", "color", "divide", "mean", "deviation", "activation", "scale")
    assert {name: getattr(half, name) for name in same} == {name: getattr(each, name) for name in same}
    assert [tensor.shape for tensor in half.inputs] == [tensor.shape for tensor in each.inputs]
    assert half.half is None


@EACH
def test_a_packaged_file_has_no_sources_and_ours_are_there(each: Card) -> None:
    if each.packaged is None:
        return
    assert each.sources == ()
    package, _, inside = each.packaged.partition("/")
    assert inside.endswith(".onnx")
    if package == "darkroom_tools":
        data = resources.files(package).joinpath(inside).read_bytes()
        assert each.sha256 == hashlib.sha256(data).hexdigest()
        assert each.bytes == len(data)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_not_for_commercial_use_is_never_chosen(task: str) -> None:
    listed = cards_for(task)
    assert listed
    if any(each.commercial for each in listed):
        assert listed[0].commercial
    limited = {each.id for each in listed if not each.commercial}
    assert best_installed(task, lambda model: model in limited) is None


def test_every_model_that_a_tool_names_has_a_card_and_every_card_a_tool() -> None:
    named = {model for tool in builtin_tools().values() for model in tool.models}
    halves = {each.half for each in ALL}
    assert named - set(cards()) == set()
    assert set(cards()) - named - halves == set()


def test_a_missing_model_is_answered_with_the_command_that_installs_it() -> None:
    for each in ALL:
        command = missing(each.id).details["command"]
        verb = "pull" if each.sources else "import"
        assert command.startswith(f"darkroom models {verb} {each.id}")
    assert missing("unheard-of").details["command"] == "darkroom models import unheard-of FILE"


def test_no_card_is_an_error_of_the_caller() -> None:
    with pytest.raises(KeyError):
        card("unheard-of")
