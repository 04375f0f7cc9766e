"""The gallery: every workflow is a sound document, compiles with each of its options, and does what it says."""

import io
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from pydantic import SecretStr
from support.gallery_room import Made, Store, compiled, planned, ran
from support.golden import compare_with_golden
from support.image_engine import ImageEngine, Misbehaviour, serving_images

from darkroom.engine import attaching
from darkroom.engine.limits import Limits
from darkroom.engine.pool import Pool
from darkroom.errors import EngineNotConfigured
from darkroom.executors.local import LocalExecutor
from darkroom.executors.segments import SegmentedExecutor
from darkroom.generative.client import ImagesClient
from darkroom.workflows.exchange import export_document, read_document
from darkroom.workflows.gallery import gallery
from darkroom_prompts import load_prompts
from darkroom_prompts.gallery import FACTS, load_gallery, parse_document
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

ORIENTATION = 0x0112
RECORDED = Path(__file__).parents[1] / "golden" / "gallery-ids.json"
CATALOGUE = {
    "fashion": ["lego_clothes", "mamasfit", "lengerie", "fashion_card", "fashion_swap", "fashion_swap_half"],
    "interior": ["furniture"],
    "textile": ["fabric"],
    "default": ["default"],
}


@dataclass(frozen=True)
class Case:
    """A call of a workflow, and what it makes of its pictures.

    Attributes:
        images: By input, names of pictures of `support.gallery_room`.
        size: Of the first result; None for a file that is no picture.
        format: Of the first result.
        values: What has no default.
        golden: Whether somebody looked at the result and kept it.
    """

    images: Mapping[str, list[str]]
    size: tuple[int, int] | None
    format: str = "JPEG"
    values: Mapping[str, Any] = field(default_factory=dict)
    golden: bool = False


def one(picture: str, name: str = "image") -> dict[str, list[str]]:
    return {name: [picture]}


LOCAL = {
    "before-after": Case({"before": ["grey"], "after": ["photo"]}, (2414, 800)),
    "black-and-white": Case(one("photo"), (230, 180), golden=True),
    "blurred-portrait": Case(one("product"), (104, 128)),
    "bright-interior": Case(one("photo"), (150, 100)),
    "captioned-gif": Case(one("animation"), (360, 240), "GIF", {"caption": "on it"}),
    "colour-pop": Case(one("product"), (104, 128), golden=True),
    "contact-sheet": Case({"images": ["photo", "grey", "product", "tall", "photo"]}, (2400, 1231), golden=True),
    "enlarge-for-print": Case(one("photo"), (300, 200)),
    "fashion-card": Case(one("product", "clothes"), (1080, 1350), values={"title": "Flask"}, golden=True),
    "gallery-print": Case(one("photo"), (2000, 1623), golden=True),
    "instant-photo": Case(one("photo"), (1216, 1406), "PNG", golden=True),
    "listing-board": Case(
        {"images": ["product", "photo", "grey"]},
        (1600, 1400),
        values={"title": "A flask", "price": "€ 45"},
        golden=True,
    ),
    "logo-to-svg": Case(one("logo"), None, "SVG"),
    "mono-studio": Case(one("product"), (104, 128), golden=True),
    "mood-board": Case({"images": ["photo", "grey", "product", "tall"]}, (2400, 1800)),
    "old-photo": Case(one("grey"), (96, 96)),
    "passport-sheet": Case(one("portrait"), (413, 531)),
    "product-on-white": Case(one("product"), (1600, 1600), golden=True),
    "profile-picture": Case(one("portrait"), (800, 800), "PNG", golden=True),
    "qr-poster": Case(one("photo"), (1080, 1350), values={"headline": "Menu", "link": "https://example.com/menu"}),
    "scan-to-pdf": Case(one("page"), None, "PDF"),
    "scanned-page": Case(one("page"), None, "PNG"),
    "screenshot-frame": Case(one("page"), (392, 296), "PNG", golden=True),
    "share-privately": Case(one("portrait"), (200, 200)),
    "social-post": Case(one("photo"), (1080, 1080), values={"headline": "Slow mornings"}, golden=True),
    "story-frame": Case(one("photo"), (1080, 1920), golden=True),
    "watermarked-proof": Case({"image": ["photo"], "logo": ["logo"]}, (150, 100)),
    "web-ready": Case(one("photo"), (150, 100), "WEBP"),
}
GENERATIVE = {
    "fabric": Case({"product": ["photo"], "fabric": ["grey"]}, (64, 48)),
    "fabric-pattern": Case({}, (2048, 1536), values={"motif": "small wild flowers"}),
    "fashion-swap": Case({"person": ["portrait"], "clothes": ["product"]}, (64, 48)),
    "fashion-swap-half": Case({"person": ["portrait"], "clothes": ["product"]}, (64, 48)),
    "free-edit": Case(one("photo"), (64, 48), values={"prompt": "Make it winter"}),
    "furniture": Case({"room": ["photo"], "furniture": ["product", "grey"]}, (64, 48)),
    "lego-clothes": Case({"person": ["portrait"], "clothes": ["product", "grey", "photo"]}, (64, 48)),
    "lego-clothes-flat": Case({"clothes": ["product"], "others": ["grey", "photo"]}, (64, 48)),
    "lengerie": Case(one("product", "clothes"), (64, 48)),
    "mamasfit": Case({"person": ["portrait"], "clothes": ["product"]}, (64, 48)),
    "product-scene": Case(one("product"), (104, 128)),
    "room-restyle": Case(one("photo", "room"), (64, 48)),
    "studio-model": Case(one("portrait", "person"), (64, 48)),
}
CASES = LOCAL | GENERATIVE


@pytest.fixture(scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Pool, Pool]]:
    folder = tmp_path_factory.mktemp("pools")
    async with (
        Pool(workers=1, run_dir=folder / "pixels", limits=Limits(), extra_tools=[attaching.MODULE]) as pixels,
        Pool(
            workers=1,
            run_dir=folder / "vector",
            limits=Limits(),
            extra_tools=[attaching.MODULE],
            kind="vector",
            forks=pixels.forks,
        ) as vector,
    ):
        yield pixels, vector


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def executor_of(pools: tuple[Pool, Pool], store: Store, client: ImagesClient | None) -> SegmentedExecutor:
    local = LocalExecutor(pools[0], path_of=store.folder.joinpath, adopt=store.adopt, vector=pools[1])
    return SegmentedExecutor(local, client, tools=builtin_tools(), temporary=store.temporary, stored=store.stored)


@pytest.fixture
def executor(pool: tuple[Pool, Pool], store: Store) -> SegmentedExecutor:
    """Runs everything but generative steps."""
    return executor_of(pool, store, None)


@pytest.fixture
def engine() -> Iterator[ImageEngine]:
    with serving_images() as engine:
        yield engine


def drawing() -> bytes:
    """What the engine answers with: a blue picture, red in its right half."""
    picture = PIL.Image.new("RGB", (64, 48), (30, 60, 200))
    picture.paste((200, 40, 30), (32, 0, 64, 48))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_every_workflow_is_run_here() -> None:
    assert set(CASES) == set(load_gallery())
    assert len(CASES) >= 20


@pytest.mark.parametrize("slug", load_gallery())
def test_a_document_says_what_people_and_agents_need(slug: str) -> None:
    written = load_gallery()[slug]
    document = read_document({name: value for name, value in written.items() if name not in FACTS})
    assert read_document(json.dumps(export_document(document, published=True))) == document
    assert 40 <= len(document.description) <= 200
    assert document.description.endswith(".")
    assert document.tags
    assert document.price is not None
    assert document.price.execution in range(1, 9)
    for name, wanted in document.inputs.items():
        assert wanted.title, name
        assert all(option.label for option in wanted.options), name
        assert not wanted.options or wanted.default is not None, name
    required = {name for name, wanted in document.inputs.items() if wanted.type != "image" and wanted.default is None}
    assert required == set(CASES[slug].values)
    assert all(component.id for component in document.components if component.type != "export")


def test_names_and_ids_are_one_workflow_each_and_ids_never_change() -> None:
    ids = {slug: document["id"] for slug, document in load_gallery().items()}
    names = [document["name"].casefold() for document in load_gallery().values()]
    assert len(set(names)) == len(names)
    assert all(str(uuid.UUID(known)) == known for known in ids.values())
    recorded = json.loads(RECORDED.read_text())
    assert ids == recorded, "ids are for ever: add new ones to golden/gallery-ids.json, change none"


def test_the_features_of_the_catalogue_are_there() -> None:
    documents = [document for document in load_gallery().values() if "feature" in document]
    for group, features in CATALOGUE.items():
        assert {document["feature"] for document in documents if document["group"] == group} == set(features)


def test_the_studio_look_answers_to_the_id_that_its_callers_know() -> None:
    studio = load_gallery()["mono-studio"]
    assert (studio["id"], studio["name"]) == ("79c9e172-637f-44db-9beb-39092ff4d462", "單色棚拍風")
    assert (studio["tags"], studio["price"]["execution"]) == (["Fashion", "Model"], 4)


@pytest.mark.parametrize("slug", load_gallery())
def test_it_compiles_with_every_option_of_every_preset(slug: str) -> None:
    tool, case, document = compiled(slug), CASES[slug], gallery()[slug].document
    plan, _ = planned(tool, case.images, case.values)
    usual = plan.to_wire()
    assert all("${{" not in json.dumps(step) for step in usual)
    for name, wanted in document.inputs.items():
        plans = []
        for option in wanted.options:
            chosen = [option.option_id] if wanted.multiple else option.option_id
            plans.append(planned(tool, case.images, {**case.values, name: chosen})[0].to_wire())
        assert all(plan not in plans[:n] for n, plan in enumerate(plans)), f"two options of {name} do the same"
        assert not plans or wanted.multiple or usual in plans


def test_limits_of_numbers_hold() -> None:
    for slug in load_gallery():
        for name, wanted in gallery()[slug].document.inputs.items():
            for value, beyond in ((wanted.minimum, -1), (wanted.maximum, 1)):
                if value is not None:
                    case = CASES[slug]
                    planned(compiled(slug), case.images, {**case.values, name: value})
                    with pytest.raises(InvalidSettings, match=name):
                        planned(compiled(slug), case.images, {**case.values, name: value + beyond})


@pytest.mark.parametrize("slug", LOCAL)
async def test_a_local_workflow_makes_what_it_says(
    executor: SegmentedExecutor, store: Store, slug: str, request: pytest.FixtureRequest
) -> None:
    case = LOCAL[slug]
    made = await ran(executor, store, slug, case.images, **case.values)
    first = made.finished.outcome.outputs[0].picture
    assert first.format.upper() == case.format
    if case.size is not None:
        assert made.image.size == case.size
    if case.golden:
        update = bool(request.config.getoption("--update-golden"))
        compare_with_golden(made.small(), f"gallery-{slug}", tolerance=24, update=update)


@pytest.mark.parametrize("slug", GENERATIVE)
async def test_a_generative_workflow_asks_the_engine_and_finishes_its_answer(
    pool: tuple[Pool, Pool], store: Store, engine: ImageEngine, slug: str
) -> None:
    case = GENERATIVE[slug]
    engine.next.append(Misbehaviour(data=drawing()))
    async with ImagesClient(engine.url, engine.model, SecretStr(engine.key)) as client:
        made = await ran(executor_of(pool, store, client), store, slug, case.images, **case.values)
    (asked,) = engine.asked
    generates = slug in ("fabric-pattern", "product-scene")
    assert asked.path.endswith("/images/generations" if generates else "/images/edits")
    assert len(asked.images) == (0 if generates else sum(map(len, case.images.values())))
    prompt = asked.fields["prompt"]
    assert 150 < len(prompt) < 3000
    assert "${{" not in prompt
    assert not re.search(r"\s[.,;:]|\.\.| none,", prompt)
    assert (made.image.format, made.image.size) == (case.format, case.size)
    assert made.pixels[:, -8:, 0].mean() > made.pixels[:, -8:, 2].mean()


@pytest.mark.parametrize("slug", GENERATIVE)
async def test_without_an_engine_a_generative_workflow_says_so_at_once(executor: SegmentedExecutor, slug: str) -> None:
    plan, _ = planned(compiled(slug), GENERATIVE[slug].images, GENERATIVE[slug].values)
    with pytest.raises(EngineNotConfigured, match="DARKROOM_IMAGES_URL"):
        executor.check(plan)


@pytest.mark.parametrize("slug", LOCAL)
async def test_a_local_workflow_needs_no_engine(executor: SegmentedExecutor, slug: str) -> None:
    plan, _ = planned(compiled(slug), LOCAL[slug].images, LOCAL[slug].values)
    assert executor.check(plan) == ""


async def test_prompts_carry_what_was_chosen_and_name_the_pictures(
    pool: tuple[Pool, Pool], store: Store, engine: ImageEngine
) -> None:
    engine.next.append(Misbehaviour(data=drawing()))
    async with ImagesClient(engine.url, engine.model, SecretStr(engine.key)) as client:
        await ran(
            executor_of(pool, store, client),
            store,
            "fashion-swap",
            {"person": ["portrait"], "clothes": ["product"]},
            garment="coat",
            setting="street",
            keep=["shoes"],
            wishes="collar up",
            quality="best",
        )
    (asked,) = engine.asked
    prompt = asked.fields["prompt"]
    assert prompt.startswith("Image 1 is: the person. Image 2 is: the garment.")
    assert "the jacket or coat" in prompt
    assert "quiet city street" in prompt
    assert "Keep: the shoes." in prompt
    assert "Wishes of the user: collar up." in prompt
    assert asked.fields["quality"] == "high"
    first, second = (part.opened().size for part in asked.images)
    assert (first, second) == ((200, 200), (104, 128))


async def test_nobody_is_undressed() -> None:
    lingerie = compiled("lengerie")
    assert [image.name for image in lingerie.inputs] == ["clothes"]
    with pytest.raises(Exception, match="person"):
        lingerie.parse({"clothes": "img_a", "person": "img_b"})


async def test_the_studio_wall_has_the_chosen_colour_and_the_subject_stays(
    executor: SegmentedExecutor, store: Store
) -> None:
    options = {"backdrop": "terracotta", "light": "even", "shadow": "none"}
    made = await ran(executor, store, "mono-studio", one("product"), **options)
    assert np.abs(made.pixels[:6, :, :] - (0xB9, 0x62, 0x3F)).max() <= 6
    red, green, blue = made.pixels[80, 50]
    assert red < green < blue + 20
    fallen = await ran(executor, store, "mono-studio", one("product"), **{**options, "light": "spot"})
    assert fallen.pixels[:4, :4].mean() < 0.85 * made.pixels[:4, :4].mean()


@pytest.mark.parametrize(
    ("slug", "name", "color", "values"),
    [
        ("mono-studio", "image", (0xD9, 0xA9, 0x3F), {"backdrop": "mustard", "light": "even", "shadow": "none"}),
        ("product-on-white", "image", (0xEA, 0xDF, 0xCF), {"ground": "sand"}),
        ("fashion-card", "clothes", (0xD3, 0xDB, 0xCB), {"ground": "sage", "title": "Disc"}),
    ],
)
async def test_a_picture_that_is_cut_out_already_gets_the_ground_as_well(
    executor: SegmentedExecutor, store: Store, slug: str, name: str, color: tuple[int, int, int], values: dict[str, str]
) -> None:
    made = await ran(executor, store, slug, one("cutout", name), **values)
    for corner in (made.pixels[2, 2], made.pixels[-3, -3], made.pixels[2, -3]):
        assert np.abs(corner - color).max() <= 6


async def test_a_product_is_centred_on_pure_white(executor: SegmentedExecutor, store: Store) -> None:
    made = await ran(executor, store, "product-on-white", one("product"), shadow="none", size="1000")
    rows, columns = np.nonzero(made.pixels.min(axis=2) < 200)
    assert abs((rows.min() + rows.max()) / 2 - 500) < 12
    assert abs((columns.min() + columns.max()) / 2 - 500) < 12
    assert 600 < rows.max() - rows.min() < 860
    assert made.pixels[:40].min() >= 250


async def test_a_story_shows_the_whole_photo_whatever_its_shape(executor: SegmentedExecutor, store: Store) -> None:
    made = await ran(executor, store, "story-frame", one("tall"), format="wide", margin="full")
    assert made.image.size == (1200, 675)
    # The photo is 450 wide and as high as the frame; what is behind it is darker and blurred.
    inside, behind = made.pixels[200:475, 420:780], made.pixels[200:475, 40:360]
    assert inside.std() > behind.std()
    assert inside.mean() > 1.15 * behind.mean()


async def test_the_code_on_a_poster_can_be_read(executor: SegmentedExecutor, store: Store) -> None:
    import zxingcpp

    case = LOCAL["qr-poster"]
    for style in ("square", "dots"):
        made = await ran(executor, store, "qr-poster", case.images, **case.values, dots=style)
        assert [found.text for found in zxingcpp.read_barcodes(made.image)] == ["https://example.com/menu"]


async def test_nothing_of_the_owner_is_left_in_what_is_shared(executor: SegmentedExecutor, store: Store) -> None:
    made = await ran(executor, store, "share-privately", one("tall"))
    assert PIL.ImageOps.exif_transpose(made.image).size == (80, 120)
    assert set(made.image.getexif()) <= {ORIENTATION}
    proof = await ran(executor, store, "watermarked-proof", {"image": ["tall"], "logo": ["logo"]})
    assert not proof.image.getexif()


async def test_a_passport_photo_comes_with_a_sheet_of_copies(executor: SegmentedExecutor, store: Store) -> None:
    made = await ran(executor, store, "passport-sheet", one("portrait"), country="DE", paper="A4")
    photo, sheet = (PIL.Image.open(io.BytesIO(data)) for data in made.files)
    assert (photo.size, sheet.size) == ((413, 531), (3508, 2480))


async def test_shape_and_size_of_a_result_can_be_asked_for(executor: SegmentedExecutor, store: Store) -> None:
    made = await ran(executor, store, "black-and-white", one("photo"), aspectRatio="1:1", imageSize="1K")
    assert made.image.size == (1024, 1024)


def test_prompts_name_only_workflows_that_exist() -> None:
    names = {document["name"] for document in load_gallery().values()}
    for prompt in load_prompts().values():
        for said in re.findall(r"\"([A-Z][^\"{}]+)\"", prompt.text):
            assert said in names, (prompt.name, said)


@pytest.mark.parametrize(
    ("slug", "text", "complaint"),
    [
        ("broken", "{", "broken: "),
        ("broken", "[]", "has format, formatVersion, slug"),
        ("other-name", None, "its slug is 'web-ready'"),
        ("web-ready", {"id": "ABC"}, "its id is no UUID"),
    ],
)
def test_a_file_that_is_not_well_formed_is_named(slug: str, text: Any, complaint: str) -> None:
    whole = dict(load_gallery()["web-ready"])
    with pytest.raises(ValueError, match=complaint):
        parse_document(slug, text if isinstance(text, str) else json.dumps(whole | (text or {})))


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    whole = dict(load_gallery()["web-ready"])
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps(whole | {"slug": name}))
    with pytest.raises(ValueError, match=whole["id"]):
        load_gallery(tmp_path)


def test_a_result_is_looked_at_small_and_on_white() -> None:
    clear = io.BytesIO()
    PIL.Image.new("RGBA", (400, 200), (0, 0, 0, 0)).save(clear, "PNG")
    small = Made([clear.getvalue()], None).small()  # type: ignore[arg-type]
    assert small.shape == (80, 160, 3)
    assert small.min() == 255
