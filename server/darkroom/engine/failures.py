"""Turns libvips' failures into ours: its words go to the log, never to a caller."""

from collections.abc import Iterable

import pyvips

from darkroom.engine.fields import field
from darkroom_tools.errors import Cancelled, DarkroomError, InvalidImage, OutOfMemory, ProcessingFailed
from darkroom_tools.image import Source

__all__ = ["explain", "not_readable"]

# As libvips, its loaders and the libraries below them put it.
_MEMORY_WORDS = ("out of memory", "unable to allocate", "insufficient memory", "cannot allocate memory")


def explain(error: pyvips.Error | MemoryError, sources: Iterable[Source]) -> DarkroomError:
    """The public error for a failure while pixels were computed; raise it `from` the given one.

    Pixels are lazy, so a damaged input shows only when the result is computed. libvips does not say which
    operation failed, so each input is decoded once more on its own: the one that cannot be is the cause.

    Args:
        error: What libvips raised.
        sources: The files that went into the computation.
    """
    said = str(error).lower()
    if "killed for image" in said:
        return Cancelled("The work was cancelled.")
    if isinstance(error, MemoryError) or any(words in said for words in _MEMORY_WORDS):
        return OutOfMemory("The operation needs more memory than one job may use. Send or ask for a smaller image.")
    for source in sources:
        if not _decodes(source):
            return not_readable(source.format)
    return ProcessingFailed("The operation could not be carried out on this image. Try other settings.")


def not_readable(format: str) -> InvalidImage:
    """The error for a file that starts as `format` but cannot be decoded to its end."""
    return InvalidImage(
        f"The file starts like {format.upper()} but is damaged or incomplete. Send the original file again.",
        format=format,
    )


def _decodes(source: Source) -> bool:
    """Whether the file behind a picture can be decoded to its end; True for a picture that came from no file."""
    header = source.header
    loader = field(header, "vips-loader")
    if loader is None:
        return True
    every_frame = {"n": -1} if source.format in ("gif", "webp") else {}
    try:
        getattr(pyvips.Image, loader)(header.filename, access="sequential", fail_on="error", **every_frame).avg()
    except pyvips.Error:
        return False
    return True
