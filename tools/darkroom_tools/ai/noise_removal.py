"""Noise Removal."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.denoise import DENOISE_MODELS, NOTHING, Tier, denoised, noise_level
from darkroom_tools.kit.percent import PercentOrShare
from darkroom_tools.kit.pixels import first_frame
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import LOSSY
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

USUAL_COLOR = 30
USUAL_DETAIL = 50
"""Percent where only the switch is given."""


def _percent_or_switch(value: Any) -> Any:
    return USUAL_COLOR * value if isinstance(value, bool) else value


Percent = Annotated[float, Field(ge=0, le=100)]
ColorNoise = Annotated[
    float,
    BeforeValidator(_percent_or_switch),
    Field(ge=0, le=100),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "boolean"}]}),
]


class NoiseRemoval(Settings):
    """How much noise is removed, and how thoroughly."""

    aliases: ClassVar = {"tier": "quality"}
    value_aliases: ClassVar = {"quality": {"quick": "fast", "quality": "best"}, "format": {"jpg": "jpeg"}}

    quality: Tier = "balanced"
    """From best on, a model if installed"""

    strength: PercentOrShare = 50
    """50 is as measured"""

    preserve_detail: bool = True
    """Keep fine texture"""

    detail_preservation: Unpublished[Percent | None] = None
    """Percent"""

    color_noise: ColorNoise = USUAL_COLOR
    """Percent, true is 30"""

    format: Unpublished[Literal["original", "png", "jpeg", "webp", "avif"]] = "original"
    """Of the result"""

    output_quality: Unpublished[Annotated[int, Field(ge=1, le=100)]] = 90
    """Of a lossy format"""

    @model_validator(mode="before")
    @classmethod
    def _number_is_the_encoders(cls, data: Any) -> Any:
        """A number as `quality` is meant for the encoder."""
        quality = data.get("quality") if isinstance(data, dict) else None
        if isinstance(quality, bool) or not isinstance(quality, int | float):
            return data
        rest = {name: value for name, value in data.items() if name != "quality"}
        return {"outputQuality": quality, **rest}

    @property
    def detail(self) -> float:
        """How much detail is kept, 0..1."""
        kept = USUAL_DETAIL if self.detail_preservation is None else self.detail_preservation
        return kept / 100 if self.preserve_detail else 0.0


def _shape(settings: NoiseRemoval, shapes: Shapes) -> Shape:
    return shapes["image"][0].encoded_as(settings.format)


@tool(title="Noise Removal", models=DENOISE_MODELS, example={"quality": "fast"}, shape=_shape)
def noise_removal(image: Image, settings: NoiseRemoval, run: Run) -> Image:
    """Remove grain and colour noise, as much as is measured in the picture.

    The reply has the noise before and after in levels of 255; where there is none, the picture stays as it is.
    """
    before = noise_level(first_frame(image).pixels)
    methods: list[str] = []
    warnings: list[str] = []

    def clean(frame: "pyvips.Image") -> "pyvips.Image":
        done, frames = len(methods), image.frames
        made, method = denoised(
            frame,
            run,
            lambda share: run.progress((done + share) / frames, "removing noise"),
            tier=settings.quality,
            strength=settings.strength / 100,
            color=settings.color_noise / 100,
            detail=settings.detail,
            warn=warnings.append,
        )
        methods.append(method)
        return made

    made = _as_wanted(image.map_frames(clean), settings)
    used = [method for method in methods if method != NOTHING]
    if not used:
        same = _as_wanted(image, settings).with_facts(method=NOTHING, noiseLevel=_levels(before, before))
        return same.warn("No noise was found, so nothing was removed.") if settings.strength else same
    after = noise_level(first_frame(made).pixels)
    for words in dict.fromkeys(warnings):
        made = made.warn(words)
    return made.with_facts(method=used[0], noiseLevel=_levels(before, after))


def _levels(before: float, after: float) -> dict[str, float]:
    return {"before": round(before, 2), "after": round(after, 2)}


def _as_wanted(image: Image, settings: NoiseRemoval) -> Image:
    """The format and quality that were asked for; what an earlier step said holds where nothing was asked."""
    if settings.format != "original":
        image = image.encode_as(format=settings.format)
    format = image.encoding.format or image.source.format
    asked = {"format", "output_quality"} & settings.model_fields_set
    if format not in LOSSY or not asked:
        return image
    return image.encode_as(quality=settings.output_quality, target_bytes=None)
