"""The graph of a workflow: what goes where, and what can go nowhere."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.workflows.compile import compile_pipeline, compile_workflow, pipeline_problems, problems
from darkroom.workflows.document import PipelineStep, WorkflowDocument
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.plan import Plan
from darkroom_tools.registry import builtin_tools

TOOLS = builtin_tools()
GREY = {"effects": "grayscale"}


def document(*components: dict[str, Any], **rest: Any) -> WorkflowDocument:
    return WorkflowDocument.parse({"name": "Test", "components": list(components), **rest})


def compiled(*components: dict[str, Any], **rest: Any) -> Tool:
    return compile_workflow(document(*components, **rest), "wf-test-abc123", TOOLS)


def plan_of(tool: Tool, **arguments: Any) -> Plan:
    """The plan of a call in which every image that is not named is one picture."""
    lists = {image.name: ["a"] * image.least for image in tool.inputs if image.many and image.required}
    singles = {image.name: "a" for image in tool.inputs if not image.many and image.required}
    images, values = tool.parse({**singles, **lists, **arguments})
    count, refs = 0, {}
    for name, values_given in images.items():
        refs[name] = [f"input:{count + n}" for n in range(len(values_given))]
        count += len(values_given)
    return tool.plan(values, refs)


def wires(plan: Plan) -> list[tuple[str, dict[str, tuple[str, ...]]]]:
    return [(step.tool, {name: tuple(refs) for name, refs in step.images.items()}) for step in plan.steps]


def refusals(*components: dict[str, Any], **rest: Any) -> dict[str, InvalidSettings]:
    return {error.details["field"]: error for error in problems(document(*components, **rest), TOOLS)}


CUTOUT = {"id": "cutout", "type": "remove-background"}
BACK = {"id": "back", "type": "color-adjustments", "settings": {"image": "${{ inputs.image }}", **GREY}}
MERGE = {
    "type": "compose",
    "settings": {"image": "${{ steps.back.image }}", "overlay": "${{ steps.cutout.image }}", "opacity": 80},
}


def test_branches_meet_again_where_references_say_so() -> None:
    tool = compiled(CUTOUT, BACK, MERGE, {"type": "export", "settings": {"targetFormat": "WEBP"}})
    assert [image.name for image in tool.inputs] == ["image"]
    assert wires(plan_of(tool)) == [
        ("remove-background", {"image": ("input:0",)}),
        ("color-adjustments", {"image": ("input:0",)}),
        ("compose", {"image": ("step:s2",), "overlay": ("step:s1",)}),
        ("convert", {"image": ("step:s3",)}),
    ]
    assert plan_of(tool).steps[2].settings == {"opacity": 80}


def test_a_missing_image_is_the_result_before_and_a_second_one_may_name_any_step() -> None:
    tool = compiled(CUTOUT, BACK, {"type": "compose", "settings": {"overlay": "${{ steps.cutout.image }}"}})
    assert wires(plan_of(tool))[2] == ("compose", {"overlay": ("step:s1",), "image": ("step:s2",)})


def test_lists_mix_inputs_and_steps_in_their_order() -> None:
    tool = compiled(
        {"id": "first", "type": "resize", "settings": {"image": "${{ inputs.cover }}", "width": 9}},
        {
            "type": "stitch",
            "settings": {"images": ["${{ inputs.more }}", "${{ steps.first.image }}", "${{inputs.end}}"]},
        },
        inputs={"more": {"type": "image", "many": True}, "cover": {"type": "image"}},
    )
    assert [(image.name, image.many, image.least) for image in tool.inputs] == [
        ("more", True, 1),
        ("cover", False, 1),
        ("end", False, 1),
    ]
    plan = plan_of(tool, more=["a", "b"])
    assert wires(plan)[1] == ("stitch", {"images": ("input:0", "input:1", "step:s1", "input:3")})


def test_a_list_that_nothing_else_fills_needs_as_many_pictures_as_its_tool() -> None:
    tool = compiled({"type": "collage", "settings": {"images": "${{ inputs.photos }}"}})
    assert [(image.name, image.many, image.least) for image in tool.inputs] == [("photos", True, 2)]
    (alone,) = compiled({"type": "collage"}).inputs
    assert (alone.name, alone.many, alone.least) == ("images", True, 2)


def test_a_tool_that_takes_a_list_of_one_can_follow_any_step() -> None:
    tool = compiled({"type": "resize", "settings": {"width": 9}}, {"type": "image-to-pdf"})
    assert wires(plan_of(tool))[1] == ("image-to-pdf", {"images": ("step:s1",)})
    assert tool.output == "file"


def test_an_input_component_makes_its_field_the_picture_at_hand() -> None:
    tool = compiled(
        {"type": "input", "settings": {"field": "person"}},
        {"type": "remove-background"},
        {"id": "dress", "type": "input", "settings": {"field": "clothes"}},
        {"type": "compose", "settings": {"image": "${{ steps.remove_background.image }}"}},
        inputs={"clothes": {"type": "image", "role": "clothes"}, "person": {"type": "image", "title": "Person"}},
    )
    assert wires(plan_of(tool)) == [
        ("remove-background", {"image": ("input:1",)}),
        ("compose", {"image": ("step:s1",), "overlay": ("input:0",)}),
    ]
    properties = tool.input_schema()["properties"]
    assert properties["clothes"]["description"].startswith("clothes. Handle img_")
    assert properties["person"]["description"] == "Person. Same forms as clothes"


def test_the_first_component_works_on_the_first_image_input() -> None:
    tool = compiled({"type": "resize", "settings": {"width": 9}}, inputs={"photo": {"type": "image"}})
    assert wires(plan_of(tool)) == [("resize", {"image": ("input:0",)})]
    assert tool.input_schema()["required"] == ["photo"]


def test_components_without_an_id_are_called_by_their_type() -> None:
    tool = compiled(
        {"type": "resize", "settings": {"width": 9}},
        {"type": "resize", "settings": {"width": 8, "image": "${{ steps.resize.image }}"}},
        {"type": "stitch", "settings": {"images": ["${{ steps.resize.image }}", "${{ steps.resize-2.image }}"]}},
    )
    assert wires(plan_of(tool))[2] == ("stitch", {"images": ("step:s1", "step:s2")})


def test_an_optional_picture_that_is_not_given_leaves_its_argument_out() -> None:
    tool = compiled(
        {"type": "remove-background", "settings": {"backgroundImage": "${{ inputs.scene }}"}},
        inputs={"image": {"type": "image"}, "scene": {"type": "image", "required": False}},
    )
    assert tool.input_schema()["required"] == ["image"]
    assert wires(plan_of(tool)) == [("remove-background", {"image": ("input:0",)})]
    with_scene = plan_of(tool, scene="b")
    assert with_scene.steps[0].images["backgroundImage"] == ("input:1",)


@pytest.mark.parametrize("format", ["jpg", "JPEG", "Jpeg"])
def test_an_export_is_a_conversion_in_the_words_of_a_workflow(format: str) -> None:
    tool = compiled({"type": "export", "settings": {"targetFormat": format, "targetMode": "rgb", "quality": 70}})
    (step,) = plan_of(tool).steps
    assert (step.tool, step.settings) == ("convert", {"format": "jpeg", "mode": "RGB", "quality": 70})


def test_what_comes_last_decides_what_comes_out() -> None:
    report = compiled({"type": "resize", "settings": {"width": 9}}, {"type": "info"})
    assert (report.output, report.report, report.read_only) == ("report", TOOLS["info"].report, True)
    tiles = compiled({"type": "resize", "settings": {"width": 9}}, {"type": "split"})
    assert (tiles.output, tiles.named, tiles.read_only) == ("file", True, False)
    pages = compiled({"type": "pdf-to-image"})
    assert (pages.output, pages.worker, pages.reads) == ("files", "vector", ("pdf",))
    assert [image.as_file for image in pages.inputs] == [True]
    models = compiled({"type": "upscale"}, {"type": "remove-background"})
    assert set(models.models) == {*TOOLS["upscale"].models, *TOOLS["remove-background"].models}


def test_a_drawing_is_a_picture_after_its_first_step() -> None:
    tool = compiled({"type": "svg-to-raster"}, {"type": "resize", "settings": {"width": 9}})
    assert wires(plan_of(tool)) == [("svg-to-raster", {"svg": ("input:0",)}), ("resize", {"image": ("step:s1",)})]
    assert tool.worker == "vector"


RESIZE = {"type": "resize", "settings": {"width": 9}}


@pytest.mark.parametrize(
    ("components", "rest", "path", "said"),
    [
        ([{"type": "resise"}], {}, "components[0].type", "Did you mean 'resize'"),
        ([{"type": "inptu"}, RESIZE], {}, "components[0].type", "Did you mean 'input'"),
        ([{"type": "wf_shop_abc123"}], {}, "components[0].type", "cannot hold another"),
        ([{"id": "a", **RESIZE}, {"id": "A", **RESIZE}], {}, "components[1].id", "components[0]"),
        ([{"type": "info"}, RESIZE], {}, "components[0].type", "a report and no picture; it must be last"),
        ([{"type": "vectorize"}, RESIZE], {}, "components[0].type", "a file that is no picture; it must be last"),
        ([{"type": "export"}, RESIZE], {}, "components[0].type", "must be last"),
        ([RESIZE, {"type": "input"}], {}, "components[1].type", "Add a tool after it"),
        ([{"type": "compose"}], {}, "components[0].settings.overlay", "required"),
        ([RESIZE, {"type": "collage"}], {}, "components[1].settings.images", "at least 2 pictures"),
        (
            [RESIZE, {"type": "stitch", "settings": {"images": ["${{ steps.resize.image }}"]}}],
            {},
            "components[1].settings.images",
            "at least 2 pictures, but got 1",
        ),
        (
            [RESIZE, {"type": "compose", "settings": {"overlay": "img_abc"}}],
            {},
            "components[1].settings.overlay",
            "${{ inputs.name }} or ${{ steps.id.image }}, but got 'img_abc'",
        ),
        (
            [RESIZE, {"type": "compose", "settings": {"overlay": ["${{ inputs.logo }}"]}}],
            {},
            "components[1].settings.overlay",
            "one picture, but got a list",
        ),
        (
            [{"id": "small", **RESIZE}, {"type": "compose", "settings": {"overlay": "${{ steps.smal.image }}"}}],
            {},
            "components[1].settings.overlay",
            "Did you mean 'small'",
        ),
        (
            [{"type": "resize", "settings": {"width": 9, "image": "${{ steps.resize.image }}"}}],
            {},
            "components[0].settings.image",
            "refers to itself",
        ),
        (
            [
                {
                    "id": "a",
                    "type": "compose",
                    "settings": {"image": "${{ inputs.x }}", "overlay": "${{ steps.b.image }}"},
                },
                {"id": "b", **RESIZE, "settings": {"width": 9, "image": "${{ inputs.x }}"}},
                {"type": "compose", "settings": {"image": "${{ steps.a.image }}", "overlay": "${{ steps.a.image }}"}},
            ],
            {},
            "components[0].settings.overlay",
            "Move components[1] before components[0]",
        ),
        (
            [
                {
                    "id": "a",
                    "type": "compose",
                    "settings": {"image": "${{ inputs.x }}", "overlay": "${{ steps.c.image }}"},
                },
                {"id": "b", **RESIZE},
                {"id": "c", **RESIZE},
            ],
            {},
            "components[0].settings.overlay",
            "in a circle: a → c → b → a",
        ),
        (
            [RESIZE, {"type": "resize", "settings": {"width": 8, "image": "${{ inputs.image }}"}}],
            {},
            "components[0]",
            "nobody uses the result of 'resize'. Refer to it with ${{ steps.resize.image }}",
        ),
        (
            [{"type": "input", "settings": {"field": "a"}}, {"type": "resize", "settings": {"image": "${{inputs.b}}"}}],
            {},
            "components[0]",
            "nobody uses",
        ),
        (
            [RESIZE, {"type": "watermark-text", "settings": {"text": "by ${{ steps.resize.image }}"}}],
            {},
            "components[1].settings.text",
            "no image parameter. Those are: image",
        ),
        (
            [{"type": "watermark-text", "settings": {"text": "${{ input.word }}"}}],
            {},
            "components[0].settings.text",
            "no reference",
        ),
        (
            [{"type": "watermark-text", "settings": {"text": "${{ steps.a }}"}}],
            {},
            "components[0].settings.text",
            "no reference",
        ),
        (
            [RESIZE, {"type": "svg-to-raster"}],
            {},
            "components[1].settings.svg",
            "a file as it came in, not the result of a step",
        ),
        (
            [{"type": "resize", "settings": {"width": 9, "image": "${{ inputs.logo }}"}}],
            {"inputs": {"logo": {"type": "text"}}},
            "components[0].settings.image",
            "declared as text",
        ),
        (
            [{"type": "resize", "settings": {"width": 9, "image": "${{ inputs.photos }}"}}],
            {"inputs": {"photos": {"type": "image", "many": True}}},
            "components[0].settings.image",
            "list of pictures",
        ),
        (
            [{"type": "resize", "settings": {"width": 9, "image": "${{ inputs.photo }}"}}],
            {"inputs": {"photo": {"type": "image", "required": False}}},
            "components[0].settings.image",
            "Make the input required",
        ),
        (
            [RESIZE],
            {"inputs": {"photo": {"type": "image", "default": "img_1"}}},
            "inputs.photo",
            "no default",
        ),
        ([{"type": "input", "settings": {"feild": "a"}}, RESIZE], {}, "components[0].settings.feild", "'field'"),
        ([{"type": "export", "settings": {"targetFormat": "BMP"}}], {}, "components[0].settings.targetFormat", "PNG"),
    ],
)
def test_what_makes_no_graph_is_refused_where_it_stands(
    components: list[dict[str, Any]], rest: dict[str, Any], path: str, said: str
) -> None:
    found = refusals(*components, **rest)
    assert path in found, list(found)
    assert said in found[path].message
    assert found[path].message.startswith(f"{path}: ")
    with pytest.raises(InvalidSettings):
        compiled(*components, **rest)


def test_all_problems_are_found_at_once_in_the_order_of_the_components() -> None:
    found = problems(
        document(
            {"type": "resise"},
            {"type": "resize", "settings": {"width": 0, "hieght": 3}},
            {"type": "compose", "settings": {"overlay": "${{ steps.nothing.image }}", "opacity": 300}},
            inputs={"spare": {}},
        ),
        TOOLS,
    )
    assert [error.details["field"] for error in found] == [
        "components[0].type",
        "components[1].settings.width",
        "components[1].settings.hieght",
        "components[2].settings.overlay",
        "components[2].settings.opacity",
        "inputs.spare",
    ]
    assert found[2].details["nearest"] == "height"


def test_more_components_than_twenty_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="20"):
        document(*[RESIZE] * 21)
    assert len(plan_of(compiled(*[RESIZE] * 20)).steps) == 20


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([{"tool": "resise"}], "steps[0].tool"),
        ([{"tool": "resize", "settings": {"width": 0}}], "steps[0].settings.width"),
        ([{"tool": "vectorize"}, {"tool": "resize", "settings": {"width": 5}}], "steps[0].tool"),
        ([{"tool": "compose"}], "steps[0].tool"),
        ([{"tool": "resize", "settings": {"image": "img_abc", "width": 5}}], "steps[0].settings.image"),
        ([{"tool": "export"}], "steps[0].tool"),
        ([{"tool": "stitch"}], "steps[0].settings.images"),
    ],
)
def test_a_pipeline_speaks_of_steps(steps: list[dict[str, Any]], path: str) -> None:
    parsed = [PipelineStep.parse(step) for step in steps]
    assert [error.details["field"] for error in pipeline_problems(parsed, TOOLS)] == [path]
    with pytest.raises(InvalidSettings) as refused:
        compile_pipeline(parsed, TOOLS)
    assert refused.value.details["field"] == path
    assert "components" not in refused.value.message


STEPS = st.sampled_from(
    [
        {"tool": "resize", "settings": {"width": 90}},
        {"tool": "rotate", "settings": {"angle": 90}},
        {"tool": "color-adjustments", "settings": {"contrast": 5}},
        {"tool": "crop", "settings": {"aspectRatio": "1:1"}},
        {"tool": "convert", "settings": {"format": "webp"}},
        {"tool": "watermark-text", "settings": {"text": "a"}},
    ]
)


@given(st.lists(STEPS, min_size=1, max_size=20), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_line_of_components_is_the_pipeline_of_the_same_steps(steps: list[dict[str, Any]], explicit: bool) -> None:
    pipeline = compile_pipeline([PipelineStep.parse(step) for step in steps], TOOLS)
    components = [
        {"type": step["tool"], "settings": dict(step["settings"]), "id": f"c{n}"} for n, step in enumerate(steps)
    ]
    if explicit:
        for n, component in enumerate(components):
            component["settings"]["image"] = f"${{{{ steps.c{n - 1}.image }}}}" if n else "${{ inputs.image }}"
    assert plan_of(compiled(*components)) == plan_of(pipeline)


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Components in which each takes pictures made before, and every one is used."""
    count = draw(st.integers(1, 12))
    unused: list[str] = []
    components: list[dict[str, Any]] = []
    for n in range(count):
        known = [f"${{{{ steps.c{k}.image }}}}" for k in range(n)] + ["${{ inputs.photo }}"]
        taken = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
        if n == count - 1:
            taken += unused
        unused = [name for name in unused if name not in taken] + [f"${{{{ steps.c{n}.image }}}}"]
        if len(taken) == 1:
            made: dict[str, Any] = {"type": "rotate", "settings": {"image": taken[0], "angle": n}}
        elif len(taken) == 2 and draw(st.booleans()):
            made = {"type": "compose", "settings": {"image": taken[0], "overlay": taken[1]}}
        else:
            made = {"type": "stitch", "settings": {"images": taken}}
        components.append({"id": f"c{n}", **made})
    return components


@given(graphs())
@settings(max_examples=80, deadline=None)
def test_a_plan_uses_every_component_once_and_refers_backwards_only(components: list[dict[str, Any]]) -> None:
    plan = plan_of(compiled(*components))
    assert [step.tool for step in plan.steps] == [component["type"] for component in components]
    known = {"input:0"}
    used: set[str] = set()
    for step, component in zip(plan.steps, components, strict=True):
        refs = [ref for held in step.images.values() for ref in held]
        assert set(refs) <= known
        used |= set(refs)
        named = [value for key, value in component["settings"].items() if key in ("image", "overlay", "images")]
        assert len(refs) == sum(len(value) if isinstance(value, list) else 1 for value in named)
        known.add(f"step:{step.id}")
    assert {f"step:{step.id}" for step in plan.steps[:-1]} <= used
