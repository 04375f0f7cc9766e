"""Strip Metadata."""

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.metadata.changes import EVERYTHING, Strip
from darkroom_tools.kit.unpublished import Unpublished


class StripMetadata(Settings):
    """What is removed: everything but colour profile and orientation, unless something is chosen."""

    strip_all: Unpublished[bool | None] = None
    """True unless another is set"""

    strip_exif: Unpublished[bool] = False
    """EXIF with GPS and thumbnail"""

    strip_gps: bool = False
    """Only where it was taken"""

    strip_icc: bool = False
    """Only the colour profile; converts to sRGB"""

    strip_xmp: Unpublished[bool] = False
    """The XMP packet"""


@tool(title="Strip Metadata", sequential=True)
def strip_metadata(image: Image, settings: StripMetadata) -> Image:
    """Remove EXIF, GPS, XMP, IPTC, comments and thumbnails; pixels of JPEG, PNG, WebP and GIF stay untouched.

    The colour profile stays, because without it colours would change; so does the orientation of a photo that is
    stored on its side, as the only entry of its EXIF block. Other formats are encoded anew.
    """
    chosen = {
        "exif": settings.strip_exif,
        "gps": settings.strip_gps,
        "thumbnail": settings.strip_exif,
        "icc": settings.strip_icc,
        "xmp": settings.strip_xmp,
    }
    kinds = frozenset(kind for kind, wanted in chosen.items() if wanted)
    everything = not kinds if settings.strip_all is None else settings.strip_all
    if everything:
        kinds |= EVERYTHING
    return image.change_metadata(Strip(kinds)) if kinds else image
