"""Which workflows a caller of Solo Works finds, and what their details promise."""

import uuid
from typing import Any

import pytest
from pydantic import TypeAdapter

from darkroom.faces.rest.common import find_workflow, workflow_uuid
from darkroom.faces.rest.soloworks_inputs import arguments_of
from darkroom.faces.rest.soloworks_wire import Detail, Execute, Listing
from darkroom.principal import LOCAL
from darkroom.workflows.gallery import gallery
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.plan import input_ref

pytestmark = pytest.mark.anyio

SMALL = [{"type": "resize", "settings": {"width": "${{ inputs.width }}"}}]


async def names(solo: Any, **query: str) -> list[str]:
    return [each["name"] for each in (await solo.get("/workflows", params=query))["workflows"]]


async def test_the_list_has_the_gallery_and_what_the_caller_published(solo: Any, ben: Any) -> None:
    mine = await solo.save(
        solo.web.ann,
        {
            "name": "Κομψό 青い",
            "tags": ["Σκιά", "Mine"],
            "description": "Narrow.",
            "components": SMALL,
            "price": {"execution": 7},
        },
    )
    await solo.save(solo.web.ann, {"name": "Half done", "published": False, "components": SMALL})
    await solo.save(solo.web.ben, {"name": "Of ben", "components": SMALL})
    body = await solo.get("/workflows")
    TypeAdapter(Listing).validate_python(body, strict=True)
    by_name = {each["name"]: each for each in body["workflows"]}
    assert body["total"] == len(by_name) == len(gallery()) + 1
    assert by_name["Κομψό 青い"] == {
        "id": workflow_uuid(mine),
        "name": "Κομψό 青い",
        "description": "Narrow.",
        "tags": ["Σκιά", "Mine"],
        "creditCost": {"min": 7, "max": 7},
        "previewImage": None,
    }
    assert all(str(uuid.UUID(each["id"])) == each["id"] for each in body["workflows"])
    assert "Of ben" in await names(ben)
    assert "Κομψό 青い" not in await names(ben)
    unpublished = next(saved for saved in solo.web.room.workflows.list(solo.web.ann) if saved.name == "Half done")
    assert (await solo.get(f"/workflows/{workflow_uuid(unpublished)}"))["name"] == "Half done"


async def test_a_tag_is_found_however_it_is_written(solo: Any) -> None:
    await solo.save(solo.web.ann, {"name": "Κομψό 青い", "tags": ["Σκιά", "Mine"], "components": SMALL})
    fashion = await names(solo, tag="fashion")
    assert fashion == await names(solo, tag=" FASHION ")
    assert "單色棚拍風" in fashion
    assert all("Fashion" in saved.document.tags for saved in gallery().values() if saved.name in fashion)
    assert await names(solo, tag="ΣΚΙΆ") == ["Κομψό 青い"]
    assert await solo.get("/workflows", params={"tag": "fash"}) == {"workflows": [], "total": 0}
    assert len(await names(solo, tag="")) == len(await names(solo))


async def test_a_query_that_is_not_known_is_refused_with_what_is(solo: Any) -> None:
    answer = await solo.http.get("/api/v1/workflows", params={"tags": "fashion"})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["nearest"] == "tag"


async def test_a_price_says_from_what_to_what_a_run_costs(solo: Any) -> None:
    component = {"type": "generate-image", "settings": {"prompt": "A cat", "quality": "${{ inputs.quality }}"}}
    saved = await solo.save(solo.web.ann, {"name": "Drawn", "components": [component]})
    said = {"min": 1, "max": 9, "execution": 3}
    told = await solo.save(solo.web.ann, {"name": "Said", "price": said, "components": SMALL})
    report = await solo.save(solo.web.ann, {"name": "Told", "components": [{"type": "info"}]})
    costs = {each["id"]: each["creditCost"] for each in (await solo.get("/workflows"))["workflows"]}
    # Low quality halves the 4 credits of a picture; high quality and 2K double them twice, and a shape takes two steps.
    assert costs[workflow_uuid(saved)] == {"min": 2, "max": 18}
    assert costs[workflow_uuid(told)] == {"min": 1, "max": 9}
    assert costs[workflow_uuid(report)] == {"min": 0, "max": 0}


async def test_what_a_workflow_asks_for_is_told_in_three_kinds_of_fields(solo: Any) -> None:
    inputs = {
        "image": {"type": "image", "title": "Photo", "description": "A product"},
        "mark": {"type": "text", "title": "Mark", "maxLength": 12, "description": "In the corner"},
        "width": {"title": "Width", "minimum": 16, "maximum": 400, "default": 200},
        "ink": {"type": "color", "default": "#102030"},
        "fit": {"type": "choice", "options": [{"optionId": "in", "label": "Inside", "value": "inside"}]},
        "grow": {"type": "switch", "title": "Enlarge"},
        "keep": {"type": "switch", "multiple": True, "options": [{"optionId": "a", "label": "The A"}], "default": []},
        "one": {"type": "switch", "options": [{"optionId": "b"}, {"optionId": "c"}], "default": "b"},
    }
    resize = {"width": "${{ inputs.width }}", "fit": "${{ inputs.fit }}", "withoutEnlargement": "${{ inputs.grow }}"}
    mark = {"text": "${{ inputs.mark }} ${{ inputs.keep }} ${{ inputs.one }}", "color": "${{ inputs.ink }}"}
    components = [{"type": "resize", "settings": resize}, {"type": "watermark-text", "settings": mark}]
    saved = await solo.save(solo.web.ann, {"name": "All kinds", "inputs": inputs, "components": components})
    detail = await solo.get(f"/workflows/{workflow_uuid(saved)}")
    fields = detail["inputs"]
    assert fields["isBatchMode"] is False
    assert fields["imageFields"] == [
        {"fieldId": "image", "title": "Photo", "description": "A product", "required": True, "multiple": False}
    ]
    texts = {each.pop("fieldId"): each for each in fields["textFields"]}
    assert texts["mark"] == {
        "title": "Mark",
        "description": "In the corner",
        "type": "text",
        "required": True,
        "maxLength": 12,
    }
    assert texts["width"] == {
        "title": "Width",
        "description": "",
        "type": "number",
        "required": False,
        "default": "200",
        "minimum": 16,
        "maximum": 400,
    }
    assert (texts["ink"]["type"], texts["ink"]["default"]) == ("color", "#102030")
    assert texts["fit"]["presetOptions"] == [{"optionId": "in", "label": "Inside"}]
    switches = {each.pop("switchFieldId"): each for each in fields["switchFields"]}
    assert [option["optionId"] for option in switches["grow"]["options"]] == ["on", "off"]
    assert switches["keep"] == {
        "title": "Keep",
        "description": "",
        "required": False,
        "multiple": True,
        "options": [{"optionId": "a", "label": "The A"}],
        "default": [],
    }
    assert (switches["one"]["multiple"], switches["one"]["default"]) == (False, ["b"])


@pytest.mark.parametrize("slug", gallery())
async def test_every_choice_that_a_detail_offers_is_accepted(solo: Any, slug: str) -> None:
    """What `execute` does with a body, up to the steps; running them all takes too long."""
    detail = await solo.get(f"/workflows/{workflow_uuid(gallery()[slug])}")
    TypeAdapter(Detail).validate_python(detail, strict=True)
    inputs = detail["inputs"]
    images = {each["fieldId"]: ["img_a", "img_b"] if each["multiple"] else "img_a" for each in inputs["imageFields"]}
    needed = {each["fieldId"]: "7" for each in inputs["textFields"] if each["required"]}
    assert not [each for each in inputs["textFields"] if each["required"] and "presetOptions" in each]
    bodies: list[dict[str, Any]] = [{"texts": needed}]
    for field in inputs["textFields"]:
        sent = [option["optionId"] for option in field.get("presetOptions", [])]
        sent += [field["default"]] if "default" in field else []
        bodies += [{"texts": {**needed, field["fieldId"]: each}} for each in sent]
    for field in inputs["switchFields"]:
        chosen = [[option["optionId"]] for option in field["options"]]
        chosen += [field["default"]] if "default" in field else []
        bodies += [{"texts": needed, "switchSelections": {field["switchFieldId"]: each}} for each in chosen]
    saved = await find_workflow(solo.web.room, solo.web.ann, detail["id"])
    tool = saved.runnable()
    for body in bodies:
        pictures, values = arguments_of(saved, Execute.parse({"images": images, **body}))
        held, settings = tool.parse({**pictures, **values})
        tool.plan(settings, {name: [input_ref(n) for n, _ in enumerate(given)] for name, given in held.items()})
    for field in inputs["textFields"]:
        for label in [each["label"] for each in field.get("presetOptions", []) if each["label"] != each["optionId"]]:
            body = {"images": images, "texts": {**needed, field["fieldId"]: label}}
            pictures, values = arguments_of(saved, Execute.parse(body))
            with pytest.raises(InvalidSettings, match="optionId"):
                tool.parse({**pictures, **values})


async def test_a_workflow_answers_to_its_ids_and_to_no_stranger(solo: Any, ben: Any) -> None:
    saved = await solo.save(solo.web.ann, {"name": "Only mine", "components": SMALL})
    for key in (workflow_uuid(saved), workflow_uuid(saved).upper(), saved.id, saved.version):
        assert (await solo.get(f"/workflows/{key}"))["id"] == workflow_uuid(saved)
    assert (await solo.get("/workflows/mono-studio"))["name"] == "單色棚拍風"
    texts = set()
    for client, key in (
        (ben, workflow_uuid(saved)),
        (ben, saved.version),
        (solo, str(uuid.UUID(int=7))),
        (solo, "none"),
    ):
        answer = await client.http.get(f"/api/v1/workflows/{key}")
        assert answer.status_code == 404
        texts.add(answer.json()["error"]["message"].replace(key, ""))
    assert len(texts) == 1


async def test_the_owner_of_the_machine_sees_the_own_ones_only(web: Any, solo: Any) -> None:
    await solo.save(solo.web.ann, {"name": "Only mine", "components": SMALL})
    await solo.save(LOCAL, {"name": "Of the house", "components": SMALL})
    async with web.client(web.admin) as http:
        found = {each["name"] for each in (await http.get("/api/v1/workflows")).json()["workflows"]}
    assert "Of the house" in found
    assert "Only mine" not in found
