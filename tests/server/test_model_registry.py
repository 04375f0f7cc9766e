"""What is known of every model on this machine."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from support import onnx_models as onnx

from darkroom.engine.model_check import digests_of, judge, misfit, recognise
from darkroom.engine.model_registry import Entry, all_entries, runtime_version
from darkroom.engine.onnx_file import Declared, declared_arrays
from darkroom_tools.errors import ModelInvalid
from darkroom_tools.models import Card, Tensor, cards
from darkroom_tools.registry import builtin_tools

CARD = Card("tiny", "cutout", "Tiny", "tiny.onnx", "MIT", inputs=(Tensor("x", ("n", 3, "h", "w")),))


def written(folder: Path, data: bytes, name: str = "given.onnx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_cards_come_in_their_order_and_then_what_has_none(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"mine": onnx.identity(), "u2net": onnx.luminance()})
    entries = all_entries(models_dir, builtin_tools().values())
    assert [entry.id for entry in entries] == [*cards(), "mine"]
    by_id = {entry.id: entry for entry in entries}
    assert (by_id["mine"].state, by_id["mine"].card, by_id["mine"].tools) == ("installed", None, ())
    assert (by_id["u2net"].state, by_id["u2net"].command) == ("installed", None)
    assert by_id["u2net"].bytes == len(onnx.luminance())
    assert "remove-background" in by_id["u2net"].tools


@pytest.mark.parametrize(
    ("card", "state", "command"),
    [
        (CARD, "not-installed", "darkroom models import tiny FILE"),
        (replace(CARD, packaged="no_such_package/x.onnx"), "needs-extra", "uv tool install 'darkroom-mcp[ai]'"),
    ],
)
def test_what_is_not_here_has_the_command_that_brings_it(card: Card, state: str, command: str) -> None:
    entry = Entry("tiny", card, None, None, ())
    assert entry.state == state
    assert entry.command is not None
    assert entry.command.startswith(command)
    assert entry.bytes is None


def test_a_packaged_file_is_here_and_has_its_own_size(tmp_path: Path) -> None:
    card = replace(CARD, packaged="darkroom_tools/x.onnx", bytes=7)
    entry = Entry("tiny", card, None, written(tmp_path, b"12345"), ())
    assert (entry.state, entry.bytes, entry.command, entry.trust) == ("packaged", 5, None, None)


def test_without_a_runtime_a_packaged_file_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = next(card.id for card in cards().values() if (card.packaged or "").startswith("darkroom_tools/"))
    here = {entry.id: entry.state for entry in all_entries(tmp_path, ())}
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found(name) if name != "onnxruntime" else None)
    without = {entry.id: entry.state for entry in all_entries(tmp_path, ())}
    assert (here[ours], without[ours]) == ("packaged", "needs-extra")


def test_trust_is_what_the_card_pins_or_what_the_manifest_says(tmp_path: Path) -> None:
    def trust(card: Card) -> str | None:
        return Entry("tiny", card, None, None, ()).trust

    assert trust(CARD) == "first-use"
    assert trust(replace(CARD, md5="0" * 32)) == "md5"
    assert trust(replace(CARD, sha256="0" * 64, md5="0" * 32)) == "sha256"
    file = all_entries(onnx.install(tmp_path, {"mine": onnx.identity()}), ())[-1].file
    assert Entry("tiny", replace(CARD, sha256="0" * 64), file, None, ()).trust == "first-use"


def test_the_runtimes_version_names_its_build() -> None:
    assert runtime_version() is not None
    assert str(runtime_version()).endswith(" (onnxruntime)")


def test_declared_arrays_are_those_of_the_graph(tmp_path: Path) -> None:
    path = written(tmp_path, onnx.luminance(batch=1))
    assert declared_arrays(path) == (
        (Declared("x", "float32", (1, 3, 320, 320)),),
        (Declared("y", "float32", (1, 1, 320, 320)),),
    )
    assert declared_arrays(written(tmp_path, onnx.identity()))[0][0].shape == (None, 3, None, None)


def test_weights_that_old_files_list_among_the_inputs_are_none(tmp_path: Path) -> None:
    model = onnx.onnx.load_model_from_string(onnx.luminance())
    model.graph.input.append(onnx.helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, (1, 3, 1, 1)))
    inputs, _ = declared_arrays(written(tmp_path, model.SerializeToString()))
    assert [declared.name for declared in inputs] == ["x"]


@pytest.mark.parametrize(("kind", "name"), [(11, "float64"), (7, "int64"), (16, ""), (10, "float16")])
def test_element_types_have_numpys_names(tmp_path: Path, kind: int, name: str) -> None:
    model = onnx.onnx.load_model_from_string(onnx.identity())
    model.graph.input[0].type.tensor_type.elem_type = kind
    assert declared_arrays(written(tmp_path, model.SerializeToString()))[0][0].dtype == name


def test_an_array_without_a_shape_or_a_type_is_unknown(tmp_path: Path) -> None:
    model = onnx.onnx.load_model_from_string(onnx.identity())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.input[0].ClearField("type")
    inputs, outputs = declared_arrays(written(tmp_path, model.SerializeToString()))
    assert inputs == (Declared("x", "", None),)
    assert outputs == (Declared("y", "float32", None),)


FITS = (Tensor("any name", ("n", 3, 320, 320)), Tensor("any name", ("n", 1, 320, 320)))


@pytest.mark.parametrize(
    ("takes", "gives", "fits"),
    [
        (FITS[:1], FITS[1:], True),
        (FITS[:1], (), True),
        ((Tensor("x", (1, 3, "h", "w")),), (), True),
        ((replace(FITS[0], dtype="float16"),), (), True),
        ((replace(FITS[0], dtype="uint8"),), (), False),
        ((Tensor("x", ("n", 320, 320, 3)),), (), False),
        ((Tensor("x", ("n", 3, 320)),), (), False),
        (FITS, (), False),
        (FITS[:1], (*FITS[1:], *FITS[1:]), False),
    ],
)
def test_a_file_fits_a_card_by_the_order_types_and_sizes_of_its_arrays(
    tmp_path: Path, takes: tuple[Tensor, ...], gives: tuple[Tensor, ...], fits: bool
) -> None:
    path = written(tmp_path, onnx.luminance())
    card = replace(CARD, inputs=takes, outputs=gives)
    assert (misfit(card, path) is None) is fits
    if fits:
        assert judge(card, path) == "first-use"
    else:
        with pytest.raises(ModelInvalid, match="takes float32"):
            judge(card, path)


def test_a_pinned_digest_is_believed_more_than_the_card(tmp_path: Path) -> None:
    path = written(tmp_path, onnx.luminance())
    other = replace(CARD, inputs=(Tensor("x", (1, 1)),))
    sha256, md5 = digests_of(path)
    assert judge(replace(other, sha256=sha256), path) == "sha256"
    assert judge(replace(other, md5=md5), path) == "md5"
    assert misfit(other, path) is not None


def test_a_size_is_checked_where_no_digest_is_known(tmp_path: Path) -> None:
    path = written(tmp_path, onnx.luminance())
    with pytest.raises(ModelInvalid, match="bytes instead of 7"):
        judge(replace(CARD, bytes=7), path)


def test_a_file_is_recognised_by_its_digest_before_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, onnx.luminance(), "a.onnx")
    sha256, md5 = digests_of(path)
    named = replace(CARD, id="named", file="a.onnx")
    pinned = replace(CARD, id="pinned", file="b.onnx", sha256=sha256)
    weak = replace(CARD, id="weak", file="c.onnx", md5=md5)
    assert recognise(path, [named, pinned]) == pinned
    assert recognise(path, [named, weak]) == weak
    assert recognise(path, [named]) == named
    assert recognise(path, [replace(CARD, file="d.onnx")]) is None
    with pytest.raises(ModelInvalid, match="could not be read"):
        recognise(tmp_path / "missing.onnx", [named])
