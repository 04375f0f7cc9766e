"""From histories to documents: what a recipe says, also of graphs, generators and lists; and what it refuses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.workflows.compile import compile_workflow
from darkroom.workflows.document import MOST_COMPONENTS, WorkflowDocument
from darkroom.workflows.recipe import Edit, recipe
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.plan import Plan, Step
from darkroom_tools.registry import builtin_tools

TOOLS = builtin_tools()
SOURCE = Edit("img_0", None, "img_0", None, (), "jpeg")


def step(tool: str, images: Mapping[str, Sequence[str]] | None = None, /, name: str = "s1", **settings: Any) -> Step:
    return Step(name, tool, settings, images if images is not None else {"image": ("input:0",)})


def history(*plans: Sequence[Step], source: bool = True) -> list[Edit]:
    """Edits one after the other, each made by these steps of the one before."""
    edits = [SOURCE] if source else []
    for n, steps in enumerate(plans, 1):
        parent = edits[-1].image if edits else None
        edits.append(Edit(f"img_{n}", parent, "img_0", steps[-1].tool, Plan(tuple(steps)).to_wire(), "jpeg"))
    return edits


def replayed(made: Mapping[str, Any]) -> tuple[list[tuple[str, list[str], bool]], list[str]]:
    """Of the compiled document the steps with what goes in, and the image inputs."""
    tool = compile_workflow(WorkflowDocument.parse({"name": "Again", **made}), "wf-again-aaaaaa", TOOLS)
    arguments = {image.name: ["x"] * 2 if image.many else "x" for image in tool.inputs}
    _, settings = tool.parse(arguments)
    plan = tool.plan(settings, {image.name: [f"input:{n}"] for n, image in enumerate(tool.inputs)})
    steps = [(s.tool, [ref for refs in s.images.values() for ref in refs], s.written) for s in plan.steps]
    return steps, [image.name for image in tool.inputs]


def test_calls_one_after_the_other_are_a_chain_that_writes_in_between() -> None:
    made = recipe(history([step("resize", width=9)], [step("rotate", angle=90)], [step("resize", width=4)]), {}, TOOLS)
    assert made == {
        "inputs": {"image": {"type": "image"}},
        "components": [
            {"id": "resize", "type": "resize", "settings": {"width": 9}, "written": True},
            {"id": "rotate", "type": "rotate", "settings": {"angle": 90}, "written": True},
            {"id": "resize_2", "type": "resize", "settings": {"width": 4}},
        ],
    }
    assert replayed(made) == (
        [("resize", ["input:0"], True), ("rotate", ["step:s1"], True), ("resize", ["step:s2"], False)],
        ["image"],
    )


def test_steps_of_one_call_pass_pixels_on() -> None:
    steps = [step("resize", width=9), step("rotate", {"image": ("step:s1",)}, name="s2", angle=90)]
    made = recipe(history(steps), {}, TOOLS)
    assert [component.get("written") for component in made["components"]] == [None, None]


def test_a_branch_that_joins_again_stays_one() -> None:
    steps = [
        step("resize", width=9),
        step("blur-background", {"image": ("input:0",)}, name="s2")
        if "blur-background" in TOOLS
        else step("rotate", {"image": ("input:0",)}, name="s2", angle=180),
        step("compose", {"image": ("step:s2",), "overlay": ("step:s1",)}, name="s3"),
    ]
    made = recipe(history(steps), {}, TOOLS)
    joined, inputs = replayed(made)
    assert [refs for _, refs, _ in joined] == [["input:0"], ["input:0"], ["step:s2", "step:s1"]]
    assert inputs == ["image"]


def test_further_pictures_are_inputs_named_after_their_parameter() -> None:
    mark = {"image": ("input:0",), "watermark": ("input:1",)}
    made = recipe(history([step("watermark-image", mark)], [step("watermark-image", mark)]), {}, TOOLS)
    assert list(made["inputs"]) == ["image", "watermark", "watermark2"]
    steps, inputs = replayed(made)
    assert [refs for _, refs, _ in steps] == [["input:0", "input:1"], ["step:s1", "input:2"]]
    assert inputs == ["image", "watermark", "watermark2"]


def test_a_picture_that_one_call_used_twice_is_one_input() -> None:
    steps = [
        step("compose", {"image": ("input:0",), "overlay": ("input:1",)}),
        step("compose", {"image": ("step:s1",), "overlay": ("input:1",)}, name="s2"),
    ]
    made = recipe(history(steps), {}, TOOLS)
    assert list(made["inputs"]) == ["image", "overlay"]


def test_a_list_of_pictures_is_an_input_that_takes_a_list() -> None:
    images = {"images": ("input:0", "input:1", "input:2")}
    made = recipe(history([step("collage", images, template="3-h-equal")]), {}, TOOLS)
    assert made["inputs"] == {"images": {"type": "image", "many": True}}


def test_a_result_in_a_list_stays_in_its_place() -> None:
    images = {"images": ("input:0", "input:1")}
    made = recipe(history([step("resize", width=9)], [step("collage", images, template="2-h-equal")]), {}, TOOLS)
    assert made["components"][1]["settings"]["images"] == ["${{ steps.resize.image }}", "${{ inputs.images }}"]
    assert replayed(made)[0][1][1] == ["step:s1", "input:1"]


def test_what_makes_a_picture_of_nothing_begins_a_recipe_without_images() -> None:
    edits = history([step("qr-generate", {}, text="x")], [step("resize", width=9)], source=False)
    made = recipe(edits, {}, TOOLS)
    assert made["inputs"] == {}
    assert replayed(made) == ([("qr-generate", [], True), ("resize", ["step:s1"], False)], [])


def test_what_was_written_in_between_stays_so_when_it_is_saved_again() -> None:
    steps = [
        replace(step("resize", width=9), written=True),
        step("rotate", {"image": ("step:s1",)}, name="s2", angle=9),
    ]
    assert recipe(history(steps), {}, TOOLS)["components"][0]["written"] is True


@pytest.mark.parametrize(
    ("opened", "inputs", "settings"),
    [
        ({"size": "resize.width"}, {"size": {"default": 9}}, {"width": "${{ inputs.size }}"}),
        ({"width": {}}, {"width": {"default": 9}}, {"width": "${{ inputs.width }}"}),
        (["resize.width"], {"width": {"default": 9}}, {"width": "${{ inputs.width }}"}),
        (["width"], {"width": {"default": 9}}, {"width": "${{ inputs.width }}"}),
        (
            {"width": {"default": 5, "minimum": 2}},
            {"width": {"default": 5, "minimum": 2}},
            {"width": "${{ inputs.width }}"},
        ),
        ({"fit": "resize.fit"}, {"fit": {"default": "contain"}}, {"width": 9, "fit": "${{ inputs.fit }}"}),
        ({"h": "height"}, {"h": {}}, {"width": 9, "height": "${{ inputs.h }}"}),
    ],
)
def test_settings_that_are_opened_become_inputs(opened: Any, inputs: Any, settings: Any) -> None:
    made = recipe(history([step("resize", width=9)]), opened, TOOLS)
    fit = TOOLS["resize"].settings.model_fields["fit"].default
    if "fit" in inputs:
        inputs = {"fit": {"default": fit}}
    assert made["inputs"] == {"image": {"type": "image"}, **inputs}
    assert made["components"][0]["settings"] == settings


def test_a_setting_of_several_steps_is_named_with_its_step() -> None:
    edits = history([step("resize", width=9)], [step("resize", width=4)])
    with pytest.raises(InvalidSettings, match="a setting of several steps. Choose from resize.width, resize_2.width"):
        recipe(edits, ["width"], TOOLS)
    made = recipe(edits, {"last": "resize_2.width"}, TOOLS)
    assert [component["settings"]["width"] for component in made["components"]] == [9, "${{ inputs.last }}"]


def test_a_setting_that_one_step_was_given_is_meant_before_one_that_another_has() -> None:
    edits = history([step("resize", width=9)], [step("border", width=3)], [step("resize", height=5)])
    made = recipe(edits, {"h": "height"}, TOOLS)
    assert made["components"][2]["settings"] == {"height": "${{ inputs.h }}"}


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([SOURCE], "came in from outside"),
        ([replace(history([step("resize", width=1)])[1], steps=())], "whose steps were not kept"),
        (
            [replace(history([step("resize", width=1)])[1], parent="img_gone")],
            "was made from img_gone, which was deleted",
        ),
        ([replace(history([step("resize", width=1)])[1], parent=None, format="zip")], "is a ZIP of several results"),
        (history([step("daguerreotype")]), "'daguerreotype', which is no tool any more"),
        (history([step("watermark-text", text="${{ inputs.x }}")]), "which would be a reference"),
        (history(*[[step("resize", width=1)]] * (MOST_COMPONENTS + 1)), "took 21 steps; a workflow has at most 20"),
    ],
)
def test_what_cannot_be_done_again_is_refused_with_the_reason(edits: list[Edit], said: str) -> None:
    with pytest.raises(InvalidSettings, match="There is no recipe to save: img_") as refused:
        recipe(edits, {}, TOOLS)
    assert said in refused.value.message
    assert refused.value.message.endswith(".")


SINGLE = st.sampled_from(
    [
        step("resize", width=9),
        step("rotate", angle=90),
        step("convert", format="webp"),
        step("sharpening"),
        step("watermark-image", {"image": ("input:0",), "watermark": ("input:1",)}),
        step("compose", {"image": ("input:1",), "overlay": ("input:0",)}),
    ]
)


@given(st.lists(SINGLE, min_size=1, max_size=8))
def test_every_chain_of_calls_is_a_graph_that_takes_the_same_pictures_in_the_same_places(calls: list[Step]) -> None:
    steps, inputs = replayed(recipe(history(*[[call] for call in calls]), {}, TOOLS))
    assert [tool for tool, _, _ in steps] == [call.tool for call in calls]
    assert [written for _, _, written in steps] == [True] * (len(calls) - 1) + [False]
    further = 0
    for n, (call, (_, refs, _)) in enumerate(zip(calls, steps, strict=True)):
        before = f"step:s{n}" if n else "input:0"
        for ref, given_ref in zip((r for each in call.images.values() for r in each), refs, strict=True):
            if ref == "input:0":
                assert given_ref == before
            else:
                further += 1
                assert given_ref not in (before, "input:0")
    assert len(inputs) == 1 + further
