"""The rules of passport photos as data."""

import re

import pytest

from darkroom_tools.kit.density import pixels_of
from darkroom_tools.kit.passports import custom_spec, find_spec, passport_specs, print_sizes

SPECS = passport_specs()


def test_there_are_more_than_thirty_seven_entries_with_a_place_for_everything() -> None:
    assert len(SPECS) >= 37
    for code, spec in SPECS.items():
        assert re.fullmatch("[A-Z]{2}", code)
        assert spec.code == code
        assert spec.name
        assert spec.note.endswith(".")
        assert spec.region in {"africa", "americas", "asia", "europe", "middle-east", "oceania"}
        assert 20 <= spec.width_mm <= spec.height_mm <= 80
        assert 0.4 < spec.head[0] < spec.head[1] < 0.85
        assert 0.5 < spec.eye_from_bottom < 0.7
        assert all(re.fullmatch("#[0-9A-F]{6}", color) for color in spec.backgrounds)


def test_no_entry_claims_to_be_verified_without_a_date() -> None:
    assert all(
        spec.verified_on is None or re.fullmatch(r"\d{4}-\d\d-\d\d", spec.verified_on) for spec in SPECS.values()
    )
    assert all("authority" in spec.to_wire()["note"] for spec in SPECS.values())


@pytest.mark.parametrize(
    ("code", "pixels"),
    [("US", (602, 602)), ("DE", (413, 531)), ("CN", (390, 567)), ("AE", (508, 650)), ("ES", (307, 378))]
    + [("SA", (472, 709)), ("MY", (413, 591)), ("ID", (354, 472)), ("CA", (591, 827)), ("IN", (413, 531))],
)
def test_sizes_at_300_pixels_an_inch_are_those_of_the_table(code: str, pixels: tuple[int, int]) -> None:
    spec = SPECS[code]
    assert (pixels_of(spec.width_mm, 300), pixels_of(spec.height_mm, 300)) == pixels


@pytest.mark.parametrize("code", SPECS)
def test_the_head_that_is_aimed_at_is_in_its_range_and_leaves_room_for_hair_if_it_can(code: str) -> None:
    spec = SPECS[code]
    low, high = spec.head
    assert low <= spec.head_ratio <= (low + high) / 2 + 1e-9
    above = 1 - spec.eye_from_bottom - 0.476 * spec.head_ratio
    assert above >= 0.025 - 1e-9 or spec.head_ratio == low


def test_corrected_entries_say_so() -> None:
    assert SPECS["GB"].head == pytest.approx((29 / 45, 34 / 45), abs=1e-4)
    assert SPECS["CN"].head == pytest.approx((28 / 48, 33 / 48), abs=1e-4)
    assert SPECS["SG"].head == pytest.approx((25 / 45, 35 / 45), abs=1e-4)
    assert (SPECS["IN"].width_mm, SPECS["IN"].height_mm) == (35, 45)
    assert all(SPECS[code].note != SPECS["DE"].note for code in ("GB", "CN", "SG", "IN"))


@pytest.mark.parametrize("wanted", ["de", "DE", " De ", "germany", "Germany"])
def test_a_country_is_found_by_code_or_name_whatever_the_case(wanted: str) -> None:
    assert find_spec(wanted).code == "DE"


@pytest.mark.parametrize(
    ("wrong", "near"), [("Germny", "DE (Germany)"), ("UK", "Known codes"), ("USA", "US"), ("", "AE")]
)
def test_an_unknown_country_is_answered_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=re.escape(near)):
        find_spec(wrong)


def test_the_head_of_a_narrow_photo_has_room_at_its_sides() -> None:
    assert custom_spec(35, 45).head == (0.7, 0.8)
    narrow = custom_spec(10, 200)
    assert narrow.head_ratio * 200 < 1.2 * 10


def test_papers_are_upright() -> None:
    assert print_sizes() == {"4x6": (102, 152), "A4": (210, 297)}
