"""What a workflow says it asks for is true: whatever it offers is taken, and what is beyond is refused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from darkroom.workflows.compile import compile_workflow
from darkroom.workflows.described import Field, argument_of, fields_of, pictures_of
from darkroom.workflows.exchange import read_document
from darkroom.workflows.gallery import gallery
from darkroom.workflows.service import Saved
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.plan import Plan, input_ref
from darkroom_tools.registry import builtin_tools
from darkroom_tools.settings import Settings

Call = Callable[[Saved, Mapping[str, Any]], Any]
TEXTS = {"color": "#0A5A6B", "text": "words", "number": "7", "boolean": "true"}


def saved_of(components: list[dict[str, Any]], inputs: Mapping[str, Any] | None = None) -> Saved:
    """A workflow as its owner would have saved it."""
    document = read_document({"name": "Mine", "components": components, "inputs": inputs or {}})
    tool = compile_workflow(document, "wf-mine", builtin_tools())
    return replace(gallery()["web-ready"], id="wf_mine", owner="ann", name="Mine", document=document, tool=tool)


def parsed(saved: Saved, values: Mapping[str, Any]) -> tuple[dict[str, list[Any]], Settings]:
    """A call with a picture for every parameter, and something for each field that must be there."""
    tool = saved.runnable()
    images: dict[str, Any] = {image.name: ["p"] * image.least if image.many else "p" for image in tool.inputs}
    needed = {each.id: argument_of(each, some(each)) for each in fields_of(saved) if each.required}
    return tool.parse({**images, **needed, **values})


def planned(saved: Saved, values: Mapping[str, Any]) -> Plan:
    """The steps of such a call."""
    held, settings = parsed(saved, values)
    refs = {name: [input_ref(n) for n, _ in enumerate(given)] for name, given in held.items()}
    return saved.runnable().plan(settings, refs)


def some(field: Field) -> Any:
    """Something that may be sent for it."""
    if field.choices:
        return [field.choices[0].id] if field.multiple else field.choices[0].id
    return str(field.minimum) if field.minimum is not None else TEXTS[field.kind]


def check(saved: Saved, field: Field, call: Call = planned) -> None:
    """That everything which is said of a field is so.

    Args:
        call: How far a call goes: only a whole one finds out that two settings do not go together.
    """
    for choice in field.choices:
        call(saved, {field.id: argument_of(field, [choice.id] if field.multiple else choice.id)})
    if field.default is not None:
        assert not field.required
        assert call(saved, {field.id: argument_of(field, field.default)}) == call(saved, {})
    for limit, beyond in ((field.minimum, -1), (field.maximum, 1)):
        if limit is not None:
            call(saved, {field.id: argument_of(field, str(limit))})
            with pytest.raises(InvalidSettings):
                call(saved, {field.id: argument_of(field, str(limit + beyond))})
    if field.max_length is not None:
        call(saved, {field.id: "x" * field.max_length})
        with pytest.raises(InvalidSettings):
            call(saved, {field.id: "x" * (field.max_length + 1)})


@pytest.mark.parametrize("slug", gallery())
def test_what_a_workflow_of_the_gallery_says_of_its_inputs_is_so(slug: str) -> None:
    saved = gallery()[slug]
    names = [each.id for each in (*pictures_of(saved), *fields_of(saved))]
    assert names == [*saved.runnable().input_schema()["properties"]]
    assert all(each.title for each in (*pictures_of(saved), *fields_of(saved)))
    for field in fields_of(saved):
        check(saved, field)


@pytest.mark.parametrize("tool", [tool for tool in builtin_tools().values() if tool.pipeline_step], ids=lambda t: t.id)
def test_an_input_that_nobody_declared_is_described_by_the_setting_that_it_feeds(tool: Tool) -> None:
    for source in tool.settings.model_fields.values():
        name = str(source.alias)
        settings = {key: value for key, value in tool.example.items() if key != name}
        component = {"type": tool.id, "settings": {**settings, name: "${{ inputs.x }}"}}
        try:
            saved = saved_of([component])
        except DarkroomError:
            continue  # a setting that cannot stand beside those of the example
        (field,) = fields_of(saved)
        assert (field.id, field.title) == ("x", "X")
        assert field.required == ("x" in saved.runnable().input_schema().get("required", []))
        check(saved, field, parsed)


def test_a_plain_pipeline_asks_for_what_its_references_name() -> None:
    saved = saved_of(
        [
            {"type": "resize", "settings": {"width": "${{ inputs.width }}"}},
            {"type": "sharpening", "settings": {"method": "high-pass", "kernelSize": "${{ inputs.kernelSize }}"}},
            {"type": "watermark-text", "settings": {"text": "${{ inputs.mark }}", "color": "${{ inputs.inkColor }}"}},
            {"type": "strip-metadata", "settings": {"stripExif": "${{ inputs.stripExif }}"}},
        ]
    )
    (picture,) = pictures_of(saved)
    assert (picture.id, picture.title, picture.required, picture.many) == ("image", "Image", True, False)
    width, kernel, mark, ink, strip = fields_of(saved)
    assert [each.kind for each in (width, kernel, mark, ink, strip)] == ["number", "choice", "text", "color", "boolean"]
    assert (width.title, ink.title, strip.title) == ("Width", "Ink color", "Strip exif")
    assert width.description
    assert (width.minimum, kernel.default) == (1, "3")
    assert [(choice.id, choice.value) for choice in kernel.choices] == [("3", 3), ("5", 5)]
    for field in (width, kernel, mark, ink, strip):
        check(saved, field)


def test_shape_and_size_are_no_fields_unless_the_author_made_them_some() -> None:
    plain = saved_of([{"type": "resize", "settings": {"width": 300}}])
    assert fields_of(plain) == []
    own = saved_of([{"type": "crop", "settings": {"aspectRatio": "${{ inputs.aspectRatio }}"}}])
    assert [each.id for each in fields_of(own)] == ["aspectRatio"]


def test_what_the_author_says_comes_before_what_the_setting_says() -> None:
    inputs = {
        "image": {"title": "Photo", "description": "Whole", "role": "product", "type": "image"},
        "wide": {"title": "How wide", "minimum": 100, "maximum": 900, "default": 500},
        "keep": {
            "type": "switch",
            "title": "Keep",
            "multiple": True,
            "options": [{"optionId": "a", "label": "The A"}, {"optionId": "b"}],
            "default": ["a"],
        },
    }
    saved = saved_of(
        [
            {"type": "resize", "settings": {"image": "${{ inputs.image }}", "width": "${{ inputs.wide }}"}},
            {"type": "watermark-text", "settings": {"text": "Keep ${{ inputs.keep }}"}},
        ],
        inputs,
    )
    (picture,) = pictures_of(saved)
    assert (picture.title, picture.description, picture.role) == ("Photo", "Whole", "product")
    wide, keep = fields_of(saved)
    assert (wide.title, wide.minimum, wide.maximum, wide.default) == ("How wide", 100, 900, 500)
    assert (keep.kind, keep.multiple, keep.default) == ("switch", True, ["a"])
    assert [(each.id, each.label) for each in keep.choices] == [("a", "The A"), ("b", "b")]
    for field in (wide, keep):
        check(saved, field)


@pytest.mark.parametrize(
    ("kind", "sent", "argument"),
    [
        ("number", "800", 800),
        ("number", "0.5", 0.5),
        ("number", "wide", "wide"),
        ("number", "true", "true"),
        ("number", 12, 12),
        ("boolean", "on", True),
        ("boolean", "False", False),
        ("boolean", "perhaps", "perhaps"),
        ("text", "800", "800"),
        ("color", "#FFFFFF", "#FFFFFF"),
    ],
)
def test_texts_become_what_the_field_holds(kind: Any, sent: Any, argument: Any) -> None:
    field = Field("x", "X", "", kind, False, None, None, None, None)
    read = argument_of(field, sent)
    assert (read, type(read)) == (argument, type(argument))


def test_a_list_or_an_object_is_sent_as_json() -> None:
    saved = saved_of([{"type": "edit-metadata", "settings": {"keywords": "${{ inputs.words }}"}}])
    (field,) = fields_of(saved)
    assert (field.kind, field.structured) == ("text", True)
    plan = planned(saved, {"words": argument_of(field, '["sea", "sand"]')})
    assert plan.steps[0].settings["keywords"] == ["sea", "sand"]
    with pytest.raises(InvalidSettings):
        planned(saved, {"words": argument_of(field, "sea")})


def test_a_workflow_that_no_longer_compiles_asks_for_nothing() -> None:
    broken = replace(gallery()["web-ready"], tool=None, problem="Its tool is gone.")
    assert (list(pictures_of(broken)), list(fields_of(broken))) == ([], [])
