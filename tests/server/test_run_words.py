"""What a command line means, before any server is asked: files, patterns, settings, calls and places of results."""

from pathlib import Path
from typing import Any

import pytest

from darkroom.errands import Results, plan_errands, without_results
from darkroom.words import Source, expand, parse_words
from darkroom_tools.base import Image, Settings, Tool, tool


class Shade(Settings):
    """Settings of the tools here."""

    shade: int = 0


@tool(title="Tint")
def tint(image: Image, settings: Shade) -> Image:
    """Colour an image."""
    return image


@tool(title="Blend")
def blend(image: Image, watermark: Image, settings: Shade) -> Image:
    """Put one image over another."""
    return image


@tool(title="Join", least=2)
def join(images: list[Image], settings: Shade, frame: Image | None = None) -> Image:
    """Put images side by side."""
    return images[0]


@tool(title="Draw")
def draw(settings: Shade, logo: Image | None = None) -> Image:
    """Make an image of nothing."""
    raise AssertionError


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.jpg", "a.jpg", "notes.txt", ".hidden.jpg", "in/c.PNG", "in/deep/a.jpg", "x[1].png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(sources: list[Source], desk: Path) -> list[str]:
    return [str(Path(source.value).relative_to(desk)) for source in sources]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["b.jpg", "a.jpg"], ["b.jpg", "a.jpg"]),
        (["*.jpg"], ["a.jpg", "b.jpg"]),
        (["?.jpg", "a.jpg"], ["a.jpg", "b.jpg"]),
        (["[b-z].jpg"], ["b.jpg"]),
        (["**/*.jpg"], ["a.jpg", "b.jpg", "in/deep/a.jpg"]),
        (["in/*"], ["in/c.PNG"]),
        (["."], ["a.jpg", "b.jpg", "x[1].png"]),
        (["in"], ["in/c.PNG"]),
        (["x[1].png"], ["x[1].png"]),
    ],
)
def test_files_patterns_and_folders_name_pictures_in_order_and_once(
    desk: Path, words: list[str], found: list[str]
) -> None:
    assert names(expand(words), desk) == found


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nothing.jpg", "There is no file 'nothing.jpg'."),
        ("*.gif", r"No file is like '\*.gif'."),
        ("in/deep/..", "no pictures"),
        ("", "There is no file ''."),
        ("nul\0l", "There is no file"),
    ],
)
def test_what_names_no_picture_is_said(desk: Path, word: str, said: str) -> None:
    if word == "in/deep/..":
        (desk / "in" / "c.PNG").unlink()
    with pytest.raises(ValueError, match=said):
        expand([word])


@pytest.mark.parametrize("word", ["img_abc", "https://example.org/x/photo.jpg?size=[2]", "data:image/png;base64,AA"])
def test_handles_and_addresses_stay_as_they_are(desk: Path, word: str) -> None:
    [source] = expand([word])
    assert source.value == word
    assert source.file.parent == desk


def test_a_tree_keeps_its_folders_below_a_folder_of_results(desk: Path) -> None:
    [errand] = plan("**/a.jpg", to=Results(out=Path("out")))
    assert errand.places == [desk / "out" / "a-tint", desk / "out" / "in" / "deep" / "a-tint"]
    [errand] = plan("in/*/a.jpg", "b.jpg", to=Results(out=Path("out")))
    assert errand.places == [desk / "out" / "deep" / "a-tint", desk / "out" / "b-tint"]


def test_files_that_differ_in_their_ending_get_results_that_do_not_collide(desk: Path) -> None:
    (desk / "a.png").write_bytes(b"")
    [errand] = plan("a.*", "b.jpg")
    assert [place.name for place in errand.places] == ["a-jpg-tint", "a-png-tint", "b-tint"]


def plan(*words: str, of: Tool = tint, to: Results | None = None, **settings: Any) -> Any:
    return plan_errands(of.name, of.id, of.input_schema(), expand(words), settings, to or Results())


def test_one_file_is_one_call_and_several_are_one_batch(desk: Path) -> None:
    [single] = plan("a.jpg", shade=3)
    assert (single.tool, single.arguments) == ("tint", {"image": str(desk / "a.jpg"), "shade": 3})
    [batch] = plan("*.jpg", shade=3)
    assert (batch.tool, batch.arguments) == (
        "run_pipeline",
        {
            "steps": [{"tool": "tint", "settings": {"shade": 3}}],
            "images": [str(desk / "a.jpg"), str(desk / "b.jpg")],
        },
    )


def test_more_than_a_batch_holds_is_several_batches_and_several_zips(desk: Path) -> None:
    (desk / "many").mkdir()
    for number in range(401):
        (desk / "many" / f"{number:03}.jpg").write_bytes(b"")
    errands = plan("many", to=Results(zip=Path("all.zip")))
    assert [len(errand.arguments["images"]) for errand in errands] == [200, 200, 1]
    assert [str(errand.zip) for errand in errands] == ["all.zip", "all-2.zip", "all-3.zip"]
    assert all(errand.arguments["zip"] for errand in errands)
    assert "zip" not in plan("many")[0].arguments


def test_further_images_go_with_every_item_of_a_batch(desk: Path) -> None:
    [batch] = plan("*.jpg", of=blend, watermark="img_w")
    assert batch.arguments["steps"] == [{"tool": "blend", "settings": {"watermark": "img_w"}}]
    [ordered] = plan("a.jpg", "b.jpg", of=blend)
    assert ordered.arguments == {"image": str(desk / "a.jpg"), "watermark": str(desk / "b.jpg")}


def test_a_tool_of_many_images_gets_all_in_one_call(desk: Path) -> None:
    [errand] = plan("*.jpg", of=join)
    assert errand.arguments == {"images": [str(desk / "a.jpg"), str(desk / "b.jpg")]}
    assert errand.places == [desk / "a-join"]


def test_a_tool_of_no_image_names_its_result_after_itself(desk: Path) -> None:
    [errand] = plan(of=draw, to=Results(out=Path("out")))
    assert (errand.arguments, errand.places) == ({}, [desk / "out" / "draw"])
    [errand] = plan(of=draw, logo=str(desk / "a.jpg"))
    assert errand.places == [desk / "a-draw"]


@pytest.mark.parametrize(
    ("of", "words", "to", "said"),
    [
        (tint, [], Results(), "Which file. Write darkroom run tint image.jpg"),
        (join, [], Results(), "Which file. Write darkroom run join images.jpg"),
        (draw, ["a.jpg"], Results(), "draw takes no more files."),
        (blend, ["a.jpg"], Results(), "blend takes 2 files"),
        (join, ["*.jpg"], Results(zip=Path("x.zip")), "--zip is for tools that make something of each image"),
    ],
)
def test_a_call_that_lacks_something_is_explained(
    desk: Path, of: Tool, words: list[str], to: Results, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        plan(*words, of=of, to=to)


def test_files_with_a_result_in_any_format_are_left_out(desk: Path) -> None:
    (desk / "a-tint.webp").write_bytes(b"")
    assert names(without_results(expand(["*.jpg"]), "tint", None), desk) == ["b.jpg"]
    (desk / "b-tint-1.png").write_bytes(b"")
    (desk / "b-tinted.png").write_bytes(b"")
    assert without_results(expand(["*.jpg"]), "tint", None) == []
    assert len(without_results(expand(["*.jpg"]), "tint", Path("out"))) == 2


def test_words_are_told_apart_by_the_schema() -> None:
    schema = {"properties": {"text": {"type": "string"}, "deep": {"type": "boolean"}, "sizeKB": {"type": "integer"}}}
    wanted = parse_words(["a.jpg", "--text", "7", "--deep", "b.jpg", "--size-kb=3", "--other", "x"], schema)
    assert wanted.files == ("a.jpg", "b.jpg")
    assert wanted.settings == {"text": "7", "deep": True, "sizeKB": 3, "other": "x"}
