"""Generate Image."""

from darkroom_tools.base import Generation, tool
from darkroom_tools.kit.generating import Generating


class GenerateImage(Generating):
    """What the picture shows."""


@tool(title="Generate Image", example={"prompt": "A lighthouse at dusk, watercolour"})
def generate_image(settings: GenerateImage) -> Generation:
    """Make a picture from words.

    The model decides which sizes there are: the nearest to `aspectRatio` and `imageSize` is asked for. The same call
    gives the same picture from the library, without asking again.
    """
    return Generation(
        prompt=settings.prompt,
        aspect_ratio=settings.aspect_ratio,
        image_size=settings.image_size,
        quality=settings.quality,
        background=settings.background,
        variant=settings.variant,
    )
