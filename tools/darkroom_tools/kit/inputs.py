"""Several pictures that go into one result."""

from collections.abc import Sequence

from darkroom_tools.image import Image

__all__ = ["frames_warning", "warnings_of"]


def warnings_of(images: Sequence[Image]) -> tuple[str, ...]:
    """What is to be said of the pictures, each with its number (from 1) where there are several."""
    if len(images) == 1:
        return images[0].warnings
    return tuple(f"Image {number}: {text}" for number, image in enumerate(images, 1) for text in image.warnings)


def frames_warning(images: Sequence[Image]) -> tuple[str, ...]:
    """A warning for a tool that takes first frames only, if one of the pictures is animated."""
    moving = [str(number) for number, image in enumerate(images, 1) if image.frames > 1]
    if not moving:
        return ()
    if len(images) == 1:
        return ("Only the first frame of the animation was used.",)
    shown = ", ".join(moving[:10]) + (f" and {len(moving) - 10} more" if len(moving) > 10 else "")
    return (f"Only the first frame was used of image {shown}.",)
