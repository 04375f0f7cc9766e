"""What generate-image asks an engine for."""

import pytest

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.generation import Generation
from darkroom_tools.generative.generate_image import GenerateImage, generate_image


def asked(**settings: object) -> Generation:
    assert generate_image.function is not None
    generation: Generation = generate_image.function(GenerateImage.parse(settings))
    return generation


def test_no_worker_runs_it_and_it_takes_no_picture() -> None:
    assert generate_image.generative
    assert (generate_image.inputs, generate_image.output) == ((), "image")
    assert not generate_image.pipeline_step


def test_the_settings_are_the_request() -> None:
    wanted = asked(
        prompt="A cat", aspectRatio="16:9", imageSize="2k", quality="high", background="transparent", variant=3
    )
    assert wanted == Generation(
        prompt="A cat", aspect_ratio="16:9", image_size="2K", quality="high", background="transparent", variant=3
    )
    assert wanted.ratio() == pytest.approx(16 / 9)
    assert asked(prompt="A cat").ratio() is None


def test_what_cannot_be_seen_does_not_reach_the_model() -> None:
    assert asked(prompt="  a\u202e cat\u200b\U000e0041 ").prompt == "a cat"


@pytest.mark.parametrize("prompt", ["", "   ", "\u200b", "x" * 4_001])
def test_an_empty_or_endless_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        asked(prompt=prompt)
    assert refused.value.details["field"] == "prompt"
