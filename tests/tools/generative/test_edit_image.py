"""What edit-image asks an engine for."""

from typing import Any

import pytest

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.generation import Attachment, Generation
from darkroom_tools.generative.edit_image import EditImage, edit_image

PERSON, COAT, BELT = Attachment("input:0"), Attachment("step:coat"), Attachment("input:1")


def asked(*references: Attachment, mask: Attachment | None = None, **settings: Any) -> Generation:
    assert edit_image.function is not None
    parsed = EditImage.parse({"prompt": "Put it on", **settings})
    generation: Generation = edit_image.function(PERSON, parsed, list(references), mask)
    return generation


def test_no_worker_runs_it_and_it_can_be_a_step() -> None:
    assert edit_image.generative
    assert edit_image.pipeline_step
    assert [(i.name, i.many, i.required) for i in edit_image.inputs] == [
        ("image", False, True),
        ("references", True, False),
        ("mask", False, False),
    ]


def test_pictures_go_in_the_order_in_which_the_prompt_counts_them() -> None:
    wanted = asked(COAT, BELT, mask=BELT, fidelity="high")
    assert wanted.images == (PERSON, COAT, BELT)
    assert (wanted.mask, wanted.fidelity, wanted.prompt) == (BELT, "high", "Put it on")


def test_roles_tell_the_model_what_the_pictures_are() -> None:
    wanted = asked(COAT, roles=["person", "coat\nof \u202ewool"])
    assert wanted.prompt == "Image 1 is: person. Image 2 is: coat of wool.\n\nPut it on"
    assert asked(COAT, roles=["", "coat"]).prompt.startswith("Image 2 is: coat.")


def test_more_roles_than_pictures_are_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"names 2 pictures, but 1 came\."):
        asked(roles=["person", "coat"])


def test_the_ratio_is_that_of_the_first_picture_unless_one_is_given() -> None:
    assert asked().ratio((300, 200)) == 1.5
    assert asked(aspectRatio="9:16").ratio((300, 200)) == 9 / 16


def test_references_may_be_missing_or_empty_and_are_at_most_eight() -> None:
    call = {"image": "img_a", "prompt": "x"}
    empty: list[dict[str, Any]] = [{}, {"references": []}, {"references": None}]
    for none in empty:
        images, _ = edit_image.parse({**call, **none})
        assert images == {"image": ["img_a"]}
    assert edit_image.parse({**call, "references": ["img_b"] * 8})[0]["references"] == ["img_b"] * 8
    with pytest.raises(InvalidSettings, match="at most 8 images, but got 9") as refused:
        edit_image.parse({**call, "references": ["img_b"] * 9})
    assert refused.value.details == {"field": "references", "got": 9, "limit": 8}
    assert edit_image.input_schema()["properties"]["references"]["maxItems"] == 8
    assert "minItems" not in edit_image.input_schema()["properties"]["references"]
