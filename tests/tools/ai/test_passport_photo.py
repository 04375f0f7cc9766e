"""Passport photos: size, place of the head, background, sheet."""

import io
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from skimage import data
from support.pictures import DirectRun, array_of, encoded_as, noise, picture, use

from darkroom_tools.ai.passport_photo import passport_photo
from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings, NoFace
from darkroom_tools.kit import portrait_search
from darkroom_tools.kit.faces import Face, Faces
from darkroom_tools.kit.passports import passport_specs

MARKS = {"leftEye": [0.42, 0.4], "rightEye": [0.58, 0.4], "chin": [0.5, 0.62], "crown": [0.5, 0.2]}
SKIN, COAT, WALL, WHITE = (224, 172, 140), (30, 60, 120), (90, 140, 90), (254, 254, 254)


def person(wall: Any = WHITE, width: int = 300, height: int = 400) -> np.ndarray:
    """A drawn bust whose eyes, chin and crown are at `MARKS`."""
    image = PIL.Image.new("RGB", (width, height), wall)
    draw = PIL.ImageDraw.Draw(image)
    draw.ellipse((0.12 * width, 0.7 * height, 0.88 * width, 1.5 * height), fill=COAT)
    draw.rectangle((0.43 * width, 0.55 * height, 0.57 * width, 0.75 * height), fill=SKIN)
    draw.ellipse((0.3 * width, 0.2 * height, 0.7 * width, 0.62 * height), fill=SKIN)
    for x in (0.42, 0.58):
        draw.ellipse([x * width - 4, 0.4 * height - 4, x * width + 4, 0.4 * height + 4], fill=(20, 20, 60))
    seen = np.asarray(image).astype(int) + np.random.default_rng(3).integers(-2, 3, (height, width, 3))
    return np.clip(seen, 0, 255).astype(np.uint8)


def photo(image: Image, run: DirectRun | None = None, **settings: Any) -> Image:
    result = use(passport_photo, image, run=run, **{"landmarks": MARKS, **settings})
    assert isinstance(result, Image)
    return result


@pytest.mark.parametrize("code", ["US", "EU", "CN", "AE"])
def test_the_photo_has_exactly_the_size_of_the_country(code: str) -> None:
    spec = passport_specs()[code]
    result = photo(picture(person()), country=code.lower())
    assert (result.width, result.height) == (round(spec.width_mm / 25.4 * 300), round(spec.height_mm / 25.4 * 300))
    assert result.facts["dimensions"] == {
        "widthPx": result.width,
        "heightPx": result.height,
        "widthMm": spec.width_mm,
        "heightMm": spec.height_mm,
        "dpi": 300,
    }
    assert result.facts["spec"]["code"] == code
    assert result.facts["spec"]["verifiedOn"] is None
    assert result.facts["method"] == "given"


@pytest.mark.parametrize("zoom", [0.8, 1.0, 1.3])
def test_eyes_crown_and_chin_are_where_the_rules_want_them(zoom: float) -> None:
    result = photo(picture(person()), country="GB", zoom=zoom, backgroundColor="#FFFFFF")
    seen = array_of(result).astype(int)
    eyes = (seen[..., 2] < 110) & (seen[..., 0] < 80) & (np.arange(result.height)[:, None] < 0.6 * result.height)
    eyes &= seen[..., 1] < 90
    rows, columns = np.nonzero(eyes)
    assert result.height - rows.mean() == pytest.approx(0.63 * result.height, abs=1.5)
    assert columns.mean() == pytest.approx(result.width / 2, abs=1.5)
    middle = seen[:, result.width // 2]
    head = np.abs(middle - SKIN).max(1) < 40
    crown = int(np.argmax(head))
    spec = passport_specs()["GB"]
    expected = 0.37 * result.height - spec.head_ratio * zoom * result.height * (0.2 / 0.42)
    assert crown == pytest.approx(max(0, expected), abs=2)
    assert result.facts["headRatio"] == pytest.approx(spec.head_ratio * zoom, abs=1e-4)


def test_the_background_is_replaced_and_the_person_is_not() -> None:
    result = photo(picture(person(WALL)), country="FR", backgroundColor="#BFDBFE")
    seen = array_of(result)
    assert np.abs(seen[:200, :20].astype(int) - [0xBF, 0xDB, 0xFE]).max() <= 2
    face = seen[int(0.45 * result.height) : int(0.5 * result.height), result.width // 2]
    assert np.abs(face.astype(int) - SKIN).max() < 25
    assert result.facts["background"] | {"confidence": 1} == {
        "color": "#BFDBFE",
        "replaced": True,
        "method": "color-cut",
        "confidence": 1,
    }


def test_a_background_of_the_right_colour_is_left_alone() -> None:
    result = photo(picture(person()), country="EU", bgColor="#FFFFFF")
    assert result.facts["background"] == {"color": "#FFFFFF", "replaced": False}
    assert 250 < array_of(result)[:100, :20].min() < 255


def test_an_astronaut_before_a_flag_and_a_shuttle_gets_a_plain_background() -> None:
    marks = {"leftEye": [0.383, 0.215], "rightEye": [0.48, 0.21], "chin": [0.432, 0.383], "crown": [0.432, 0.055]}
    seen = array_of(photo(picture(data.astronaut()), country="DE", landmarks=marks)).astype(int)
    high, wide = seen.shape[:2]
    for columns in (slice(0, 25), slice(-15, None)):
        assert np.abs(seen[: high // 3, columns] - 0xD4).max() < 40
    assert seen[int(0.45 * high), wide // 2].tolist() != [0xD4] * 3
    hair = seen[int(0.1 * high), int(0.3 * wide) : int(0.7 * wide)]
    assert (np.abs(hair - 0xD4).max(1) > 30).mean() > 0.95


def test_what_the_photo_lacks_is_background_and_said() -> None:
    cut = person(WALL)[60:]
    marks = {name: [x, (y * 400 - 60) / 340] for name, (x, y) in MARKS.items()}
    result = photo(picture(cut), country="US", landmarks=marks, zoom=0.8)
    assert np.abs(array_of(result)[:5].astype(int) - 255).max() <= 2
    assert any("too small around the head" in text for text in result.warnings)


def test_a_leaning_head_is_turned_upright_and_said() -> None:
    upright = PIL.Image.fromarray(person())
    turned = np.asarray(upright.rotate(-10, resample=PIL.Image.Resampling.BICUBIC, fillcolor=WHITE))
    center, angle = np.array([150, 200]), np.radians(10)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = {n: (matrix @ (np.array(p) * [300, 400] - center) + center) / [300, 400] for n, p in MARKS.items()}
    result = photo(picture(turned), country="EU", landmarks={n: list(map(float, p)) for n, p in places.items()})
    straight = photo(picture(person()), country="EU")
    assert any("leans by 10 degrees" in text for text in result.warnings)
    difference = np.abs(array_of(result).astype(int) - array_of(straight).astype(int))
    assert difference.mean() < 4


def test_the_head_is_moved_as_asked() -> None:
    marks = dict(MARKS)
    plain, moved = (
        photo(picture(person()), country="EU", landmarks=marks, adjustX=x, adjustY=y)
        for x, y in ((0, 0), (0.05, -0.05))
    )
    across, down = round(0.05 * plain.width), round(0.05 * plain.height)
    one = array_of(plain)[150 + down : 250 + down, 150:250].astype(int)
    other = array_of(moved)[150:250, 150 + across : 250 + across].astype(int)
    assert np.abs(one - other).mean() < 3


def test_the_sheet_holds_the_photo_as_often_as_it_fits() -> None:
    first, sheet = use(passport_photo, picture(person()), country="EU", landmarks=MARKS, printLayout="4x6")
    assert (sheet.width, sheet.height) == (1795, 1205)
    assert first.facts["sheet"] == {"layout": "4x6", "copies": 8, "columns": 4, "rows": 2}
    assert (sheet.encoding.format, sheet.encoding.quality, sheet.encoding.density) == ("jpeg", 95, 300)
    left, top = (1795 - 4 * 413 - 3 * 24) // 2, (1205 - 2 * 531 - 24) // 2
    assert np.array_equal(array_of(sheet)[top : top + 531, left : left + 413], array_of(first))


def test_the_sheet_has_300_pixels_an_inch_whatever_the_photo_has() -> None:
    first, sheet = use(
        passport_photo, picture(person()), country="EU", landmarks=MARKS, printLayout="a4", dpi=150, maxFileSizeKb=40
    )
    assert (first.width, first.height) == (207, 266)
    assert {sheet.width, sheet.height} == {2480, 3508}
    assert first.facts["sheet"]["copies"] == 32
    assert (first.encoding.target_bytes, sheet.encoding.target_bytes) == (40 * 1024, None)


@pytest.mark.parametrize("dpi", [72, 400])
@pytest.mark.parametrize("limit", [0, 30])
def test_the_file_says_its_density_and_keeps_its_limit(dpi: int, limit: int) -> None:
    run = DirectRun()
    written = run.encode(photo(picture(person()), country="EU", dpi=dpi, maxFileSizeKb=limit))
    with PIL.Image.open(io.BytesIO(written.data)) as opened:
        assert opened.format == "JPEG"
        assert opened.info["dpi"] == (dpi, dpi)
        assert opened.size == (round(35 / 25.4 * dpi), round(45 / 25.4 * dpi))
    assert not limit or len(written.data) <= limit * 1024
    assert written.facts.get("reached", True)


def test_a_format_that_was_asked_for_before_is_kept() -> None:
    assert photo(encoded_as(picture(person()), "png")).encoding.format == "png"
    assert photo(picture(person(), "webp")).encoding.format == "jpeg"


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((1, 1, 3), np.uint8), ((1, 2000, 3), np.uint8), ((2000, 1, 3), np.uint8), ((7, 5, 2), np.uint8)]
    + [((40, 50, 1), np.uint8), ((40, 50, 4), np.uint8), ((40, 50, 3), np.uint16), ((40, 50, 4), np.uint16)],
)
def test_odd_pictures_become_a_photo_of_the_right_size(shape: tuple[int, int, int], kind: Any) -> None:
    height, width, bands = shape
    result = array_of(photo(picture(noise(width, height, bands, kind)), country="EU"))
    assert result.shape == (531, 413, 3)
    assert result.dtype == kind


def test_transparent_places_have_the_colour_of_the_background() -> None:
    alpha = np.where((person(WALL).astype(int) - WALL).__abs__().max(-1) < 12, 0, 255).astype(np.uint8)
    result = photo(picture(np.dstack([person(WALL), alpha])), country="EU", backgroundColor="#FFFFFF")
    assert array_of(result)[:100, :20].min() > 250
    assert result.facts["background"]["replaced"] is False


def test_only_the_first_frame_of_an_animation_is_used() -> None:
    result = photo(picture(np.stack([person(), noise(300, 400)]), delay=[50, 50]))
    assert result.frames == 1
    assert "first of 2 frames" in result.warnings[0]


def test_equal_calls_give_equal_pixels() -> None:
    assert np.array_equal(array_of(photo(picture(person()))), array_of(photo(picture(person()))))


def test_a_face_with_too_few_pixels_is_enlarged_and_said() -> None:
    assert any("enlarged" in text for text in photo(picture(person(WHITE, 75, 100))).warnings)
    assert not any("enlarged" in text for text in photo(picture(person(WHITE, 900, 1200))).warnings)


def test_a_zoom_out_of_the_rules_is_said() -> None:
    assert any("outside the 70 to 80 %" in text for text in photo(picture(person()), country="EU", zoom=0.6).warnings)


def test_a_picture_without_a_face_has_an_error_of_its_own() -> None:
    with pytest.raises(NoFace, match="landmarks") as refused:
        use(passport_photo, picture(np.full((60, 60, 3), 127, np.uint8)))
    assert (refused.value.code, refused.value.status) == ("NO_FACE", 422)


def test_the_face_of_an_astronaut_is_found_and_its_places_make_the_same_photo_again() -> None:
    seen = np.asarray(PIL.Image.fromarray(data.astronaut()).resize((256, 256)))
    result = use(passport_photo, picture(seen), country="GB")
    marks = result.facts["landmarks"]
    assert marks["leftEye"]["x"] == pytest.approx(196 / 512, abs=0.02)
    assert marks["rightEye"]["x"] == pytest.approx(246 / 512, abs=0.02)
    assert marks["chin"]["y"] == pytest.approx(196 / 512, abs=0.035)
    assert marks["crown"]["y"] == pytest.approx(28 / 512, abs=0.05)
    assert any("estimated" in text for text in result.warnings)
    again = use(passport_photo, picture(seen), country="GB", landmarks=marks)
    assert np.abs(array_of(result).astype(int) - array_of(again).astype(int)).mean() < 1


def test_landmarks_of_a_network_are_taken_and_other_people_are_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    points = ((126.0, 160.0), (174.0, 160.0), (150.0, 190.0), (132.0, 211.0), (168.0, 211.0))
    faces = Faces((Face(100, 120, 100, 130, 0.9, points), Face(5, 5, 60, 70, 0.8, points)), "drawn", False)
    monkeypatch.setattr(portrait_search, "find_faces", lambda pixels, sensitivity, run: faces)
    result = use(passport_photo, picture(person()), country="EU")
    assert result.facts["method"] == "drawn"
    assert [text for text in result.warnings if "face" in text and "enlarged" not in text] == [
        "There is one other face in the picture; the largest is used."
    ]
    # From the eyes down 1.73 times the way to the mouth, which is 51 here; 1.06 times the 48 between the eyes is 50.9.
    assert result.facts["landmarks"]["chin"]["y"] * 400 == pytest.approx(160 + 1.73 * 50.94, abs=0.1)
    assert result.facts["landmarks"]["crown"]["y"] * 400 == pytest.approx(160 - (1.14 + 0.15 * 2.87) * 50.94, abs=0.1)


def test_a_caller_that_gives_up_stops_the_work() -> None:
    with pytest.raises(Cancelled):
        photo(picture(person(WALL)), DirectRun(cancel_at=0.4))


def test_custom_photos_have_any_size() -> None:
    result = photo(picture(person()), country="custom", customWidthMm=50, customHeightMm=50)
    assert (result.width, result.height) == (591, 591)
    assert result.facts["spec"]["code"] == "CUSTOM"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"country": "Germny"}, r"Did you mean DE \(Germany\)"),
        ({"country": "XX"}, "Known codes: AE"),
        ({"country": "custom"}, "customWidthMm"),
        ({"country": "custom", "customWidthMm": 5, "customHeightMm": 50}, "10"),
        ({"printLayout": "letter"}, "4x6"),
        ({"dpi": 71}, "72"),
        ({"dpi": 1201}, "1200"),
        ({"zoom": 3.1}, "3"),
        ({"maxFileSizeKb": -1}, "0"),
        ({"backgroundColor": "white"}, "#RRGGBB"),
        ({"landmarks": {"leftEye": [0, 0]}}, "lacks rightEye, chin, crown"),
        (
            {
                "landmarks": {
                    **MARKS,
                    "leftEye": [1.9, 1.9],
                    "rightEye": [1.95, 1.9],
                    "chin": [1.9, 1.95],
                    "crown": [1.9, 1.8],
                }
            },
            "outside",
        ),
        ({"country": "custom", "customWidthMm": 160, "customHeightMm": 160, "printLayout": "4x6"}, "larger than the"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        photo(picture(person()), **settings)


@pytest.mark.parametrize(("alias", "name"), [("countryCode", "country"), ("bgColor", "backgroundColor")])
def test_other_names_are_taken(alias: str, name: str) -> None:
    value = "fr" if name == "country" else "#102030"
    assert passport_photo.settings.parse({alias: value}) == passport_photo.settings.parse({name: value})
