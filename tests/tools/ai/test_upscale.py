"""Enlarging by models, by the packaged network and by Lanczos."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import PIL.Image
import pytest
from skimage import data
from support.pictures import DirectRun, array_of, encoded_as, gradient, noise, picture, use

from darkroom.app import open_darkroom
from darkroom.config import Config
from darkroom.principal import Principal
from darkroom_tools.ai.upscale import FAMILY, upscale
from darkroom_tools.base import Image, Inference
from darkroom_tools.errors import Cancelled, InvalidSettings, ModelNotInstalled, OutOfMemory, OutputTooLarge
from darkroom_tools.kit.enlarge import lanczos
from darkroom_tools.models import card, cards_for

OWN = "darkroom-sr-x2"
Net = Callable[[np.ndarray], list[np.ndarray]]


def nearest(factor: int) -> Net:
    """A network that repeats pixels."""
    return lambda x: [x.repeat(factor, 2).repeat(factor, 3)]


def repeated(array: np.ndarray, factor: int) -> np.ndarray:
    return array.repeat(factor, 0).repeat(factor, 1)


def having(*models: str) -> DirectRun:
    """These models, as networks that repeat pixels; the runtime is there, so the packaged network is too."""
    return DirectRun(models={model: nearest(card(model).scale) for model in (*models, OWN)})


@functools.cache
def session() -> onnxruntime.InferenceSession:
    """The network that ships, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content(), options, providers=["CPUExecutionProvider"])


def content() -> bytes:
    package, *path = str(card(OWN).packaged).split("/")
    return resources.files(package).joinpath(*path).read_bytes()


def own(x: np.ndarray) -> list[np.ndarray]:
    return list(session().run(None, {"image": x}))


def shipped() -> DirectRun:
    return DirectRun(models={OWN: own})


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2)))


def halved(array: np.ndarray, kernel: PIL.Image.Resampling = PIL.Image.Resampling.BICUBIC) -> np.ndarray:
    return np.asarray(PIL.Image.fromarray(array).resize((array.shape[1] // 2, array.shape[0] // 2), kernel))


@pytest.mark.parametrize(("name", "gain"), [("coffee", 1.3), ("rocket", 0.3)])
def test_the_shipped_network_beats_lanczos_on_photos_it_never_saw(name: str, gain: float) -> None:
    large = getattr(data, name)()[60:380, 100:500]
    small = halved(large)
    ours = use(upscale, picture(small), run=shipped())
    theirs = np.asarray(PIL.Image.fromarray(small).resize((400, 320), PIL.Image.Resampling.LANCZOS))
    plain = array_of(use(upscale, picture(small), model="lanczos"))
    assert ours.facts == {"width": 400, "height": 320, "method": OWN}
    assert psnr(large, array_of(ours)) > psnr(large, theirs) + gain
    assert psnr(large, plain) > psnr(large, theirs) + 0.1, "lanczos is sharpened a little"


def test_the_shipped_network_in_tiles_equals_the_whole_picture_bit_for_bit() -> None:
    seen = noise(1100, 60)
    (whole,) = own(np.ascontiguousarray(seen.transpose(2, 0, 1)[None] / np.float32(255)))
    run = shipped()
    result = array_of(use(upscale, picture(seen), run=run))
    expected = (np.clip(whole[0].transpose(1, 2, 0), 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    assert np.array_equal(result, expected)
    assert [said for _, said in run.reports if said] == [f"Processing tile {n}/3" for n in (1, 2, 3)]


def test_the_shipped_network_is_one_plain_file_of_a_few_kilobytes() -> None:
    described, model = card(OWN), onnx.load_model_from_string(content())
    assert (len(content()), hashlib.sha256(content()).hexdigest()) == (described.bytes, described.sha256)
    assert len(content()) < 100_000
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert [tensor.data_location for tensor in model.graph.initializer] == [0] * len(model.graph.initializer)
    assert {node.domain for node in model.graph.node} == {""}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("installed", "scale", "method"),
    [
        ((), 2, OWN),
        ((), 4, OWN),
        (("realesrgan-x2plus", "realesrgan-x4plus"), 2, "realesrgan-x2plus"),
        (("realesrgan-x2plus", "realesrgan-x4plus"), 4, "realesrgan-x4plus"),
        (("realesrgan-x2plus",), 4, "realesrgan-x2plus"),
        (("real-hatgan-x4",), 2, "real-hatgan-x4"),
        (("realesrgan-x4plus-fp16",), 4, "realesrgan-x4plus-fp16"),
        (("clear-reality-x4",), 4, OWN),
    ],
)
def test_auto_takes_the_best_installed_model_for_the_scale(installed: tuple[str, ...], scale: int, method: str) -> None:
    small = noise(40, 30)
    result = use(upscale, picture(small), run=having(*installed), scale=scale)
    assert result.facts == {"width": 40 * scale, "height": 30 * scale, "method": method}
    assert np.array_equal(array_of(result), repeated(small, scale))
    assert result.warnings == ()


def test_without_onnx_runtime_auto_is_lanczos_and_says_so() -> None:
    result = use(upscale, picture(noise(8, 8)))
    assert result.facts["method"] == "lanczos"
    assert "ONNX Runtime is not installed" in result.warnings[0]
    assert use(upscale, picture(noise(8, 8)), model="lanczos").warnings == ()


@pytest.mark.parametrize("model", [name for name in (each.id for each in cards_for("upscale")) if name != OWN])
@pytest.mark.parametrize("scale", [2, 4])
def test_every_model_can_be_named_for_both_scales(model: str, scale: int) -> None:
    small = noise(21, 9)
    result = use(upscale, picture(small), run=having(model), model=model, scale=scale)
    assert result.facts["method"] == model
    assert np.array_equal(array_of(result), repeated(small, scale))


def test_realesrgan_is_the_one_that_fits_the_scale() -> None:
    both = ("realesrgan-x2plus", "realesrgan-x4plus")
    for scale, (first, second) in FAMILY.items():
        for installed, method in ((both, first), ((second,), second)):
            result = use(upscale, picture(noise(5, 5)), run=having(*installed), model="realesrgan", scale=scale)
            assert result.facts["method"] == method


@pytest.mark.parametrize("model", ["realesrgan", "realesrgan-x4plus", "clear-reality-x4"])
def test_a_named_model_that_is_not_here_is_an_error(model: str) -> None:
    with pytest.raises(ModelNotInstalled):
        use(upscale, picture(noise(5, 5)), run=having(), model=model)


def test_lanczos_is_the_kernel_of_three_lobes_about_the_middle() -> None:
    seen = noise(12, 1, 1, np.uint16)
    places = (np.arange(48) + 0.5) / 4 - 0.5
    distance = np.abs(places[:, None] - np.arange(12)[None])
    weights = np.where(distance < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    expected = weights / weights.sum(1, keepdims=True) @ seen[0, :, 0].astype(float)
    found = array_of(Image(lanczos(picture(seen).pixels, 48, 1), picture(seen).source))
    assert np.abs(found[0, :, 0] - np.clip(expected, 0, 65535)).max() <= 1


@pytest.mark.parametrize("model", ["auto", "lanczos"])
def test_hidden_colour_never_bleeds_into_what_is_seen(model: str) -> None:
    down, across = np.mgrid[0:40, 0:40]
    inside = (down - 20) ** 2 + (across - 20) ** 2 < 150
    seen = np.where(inside[..., None], [200, 30, 30, 255], [0, 255, 0, 0]).astype(np.uint8)
    run = having() if model == "auto" else DirectRun()
    result = array_of(use(upscale, picture(seen), run=run, model=model))
    visible = result[..., 3] > 0
    assert np.abs(result[visible][:, :3].astype(int) - [200, 30, 30]).max() <= 1
    assert not result[~visible].any()
    expected = np.asarray(PIL.Image.fromarray(seen[..., 3]).resize((80, 80), PIL.Image.Resampling.LANCZOS))
    assert np.array_equal(result[..., 3], expected)


def test_a_picture_that_is_all_transparent_stays_so() -> None:
    seen = np.zeros((5, 7, 4), np.uint8)
    assert not array_of(use(upscale, picture(seen), run=having())).any()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("model", ["auto", "lanczos"])
def test_bands_and_depth_stay(bands: int, dtype: type[np.generic], model: str) -> None:
    seen = gradient(20, 15, bands, dtype)
    run = having() if model == "auto" else DirectRun()
    result = array_of(use(upscale, picture(seen), run=run, scale=4, model=model))
    assert (result.shape, result.dtype) == ((60, 80, bands), np.dtype(dtype))
    # The middle of the enlargement is that of the picture.
    white = np.iinfo(dtype).max
    assert np.abs(result[20:40, 20:60].mean((0, 1)) - seen[5:10, 5:15].mean((0, 1))).max() < white / 100


def test_sixteen_bits_go_through_the_network_as_they_are() -> None:
    seen = noise(9, 9, 3, np.uint16)
    assert np.array_equal(array_of(use(upscale, picture(seen), run=having(), scale=4)), repeated(seen, 4))


def test_each_frame_of_an_animation_is_enlarged() -> None:
    seen = noise(10, 24).reshape(3, 8, 10, 3)
    run = having()
    result = use(upscale, picture(seen, "gif", delay=[40, 50, 60]), run=run)
    assert np.array_equal(array_of(result), seen.repeat(2, 1).repeat(2, 2))
    assert result.pixels.get("delay") == [40, 50, 60]
    assert run.reports[-1][0] > 0.9


@pytest.mark.parametrize("model", ["auto", "lanczos"])
def test_a_single_pixel_is_enlarged(model: str) -> None:
    run = shipped() if model == "auto" else DirectRun()
    result = array_of(use(upscale, picture(np.full((1, 1, 3), 200, np.uint8)), run=run, model=model, scale=4))
    assert result.shape == (4, 4, 3)
    assert model == "auto" or (result == 200).all()


@pytest.mark.parametrize(("size", "scale"), [((4097, 10), 4), ((6000, 4200), 2)])
def test_a_result_over_the_limits_is_refused_before_any_work(size: tuple[int, int], scale: int) -> None:
    run = having()
    with pytest.raises(OutputTooLarge, match="smaller size"):
        use(upscale, picture(np.zeros((*size[::-1], 1), np.uint8)), run=run, scale=scale)
    assert run.reports == []


def test_noise_is_removed_before_the_enlargement() -> None:
    clean = np.full((64, 64, 3), 120, np.uint8)
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, 12, clean.shape), 0, 255).astype(np.uint8)
    kept = array_of(use(upscale, picture(noisy), run=having()))
    removed = array_of(use(upscale, picture(noisy), run=having(), denoise=0.5))
    assert removed.std() < 0.5 * kept.std()


def test_faces_that_cannot_be_restored_are_a_warning_with_the_command() -> None:
    result = use(upscale, picture(noise(12, 12)), run=having(), faceEnhance=True)
    assert result.warnings[0].startswith("Faces were not restored.")
    assert "darkroom models " in result.warnings[0]


def test_faces_are_restored_after_the_enlargement() -> None:
    seen = data.astronaut()[0:220, 120:340]
    run = having()
    plain = array_of(use(upscale, picture(seen), run=run))
    run = having()
    run.models["gfpgan-1.4"] = lambda x: [np.zeros_like(x)]
    result = use(upscale, picture(seen), run=run, faceEnhance=True)
    assert result.warnings == ()
    changed = (array_of(result) != plain).any(axis=2)
    assert changed[200:260, 190:240].all(), "the middle of the face is the grey that the model answers"
    assert not changed[:30].any()
    assert changed.mean() < 0.7


def test_a_picture_without_faces_is_only_enlarged() -> None:
    run = having()
    run.models["gfpgan-1.4"] = lambda x: [np.zeros_like(x)]
    result = use(upscale, picture(np.full((40, 40, 3), 90, np.uint8)), run=run, faceEnhance=True)
    assert result.warnings == ("No face was found to restore.",)


class Short(DirectRun):
    """Has memory for 400 pixels a side."""

    def infer_each(self, model: str, requests: Iterable[Sequence[np.ndarray]]) -> Iterator[Inference]:
        for (array,) in requests:
            if max(array.shape[2:]) > 400:
                raise OutOfMemory("The model needs more memory for this image than there is.")
            yield self.infer(model, [array])


def test_short_memory_is_a_warning() -> None:
    seen = noise(500, 40)
    result = use(upscale, picture(seen), run=Short(models={OWN: nearest(2)}))
    assert np.array_equal(array_of(result), repeated(seen, 2))
    assert result.warnings == ("Memory was short, so the picture went through in tiles of 250 pixels.",)


def test_a_caller_who_leaves_stops_the_tiles() -> None:
    run = having("realesrgan-x2plus")
    run.cancel_at = 0.2
    with pytest.raises(Cancelled):
        use(upscale, picture(noise(900, 900)), run=run)
    assert len(run.reports) < 10


def test_the_format_and_its_quality_are_carried_to_the_encoder() -> None:
    seen = picture(noise(4, 4), "jpeg")
    assert use(upscale, seen, model="lanczos").encoding.quality == 95
    chosen = use(upscale, seen, model="lanczos", format="jpg", quality=70).encoding
    assert (chosen.format, chosen.quality) == ("jpeg", 70)
    assert use(upscale, seen, model="lanczos", format="png").encoding.quality is None, "no palette is wanted"
    before = use(upscale, encoded_as(picture(noise(4, 4)), "webp"), model="lanczos").encoding
    assert (before.format, before.quality) == ("webp", 95)


def test_scale_may_be_a_numeric_string() -> None:
    assert use(upscale, picture(noise(3, 3)), model="lanczos", scale="4").facts["width"] == 12


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scale": 3}, "scale"),
        ({"scale": "3"}, "scale"),
        ({"scale": "two"}, "scale"),
        ({"denoise": 1.5}, "denoise"),
        ({"quality": 0}, "quality"),
        ({"format": "gif"}, "format"),
        ({"model": "realesrgn"}, "Did you mean 'realesrgan'?"),
    ],
)
def test_wrong_settings_are_explained(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said.replace("?", r"\?")):
        upscale.settings.parse(wrong)


def test_every_pulled_model_has_two_sources_and_tiles_that_fit_its_input() -> None:
    for each in cards_for("upscale"):
        if each.packaged is None:
            assert len(each.sources) == 2
            side = each.inputs[0].shape[2]
            assert each.tile + 2 * each.margin == side
            assert each.outputs[0].shape[2] == int(side) * each.scale
        assert each.half is None or card(each.half).scale == each.scale
    assert [each.id for each in cards_for("upscale") if not each.commercial] == ["clear-reality-x4"]


@pytest.mark.anyio
async def test_the_packaged_network_runs_in_the_real_engine(tmp_path: Path) -> None:
    seen = data.coffee()[100:220, 100:260]
    PIL.Image.fromarray(seen).save(tmp_path / "seen.png")
    caller = Principal("local", (tmp_path,))
    async with open_darkroom(Config(data_dir=tmp_path / "data", workers=1)) as room:
        tool = room.catalog.find(caller, "upscale")
        job = await room.jobs.accept(caller, tool, {"image": str(tmp_path / "seen.png"), "scale": 2})
        job = await room.jobs.wait(caller, job.id, 60)
        assert job.result is not None, job.error
        item = job.result.items[0]
        assert (item.facts["method"], item.facts["device"], item.facts["width"]) == (OWN, "cpu", 320)
        (tmp_path / "large.png").write_bytes(await room.library.read(caller, item.images[0]))
    expected = array_of(use(upscale, picture(seen), run=shipped()))
    assert np.abs(np.asarray(PIL.Image.open(tmp_path / "large.png")).astype(int) - expected).max() <= 1
