"""What is known of a stored image."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darkroom_tools.errors import InvalidSettings

__all__ = ["Cursor", "ImageRecord", "Page"]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image; an edit makes a new one. Only whether it is listed changes, with its version and time, and its project.

    Attributes:
        id: Handle `img_…`.
        owner: Whose it is.
        sha256: Digest of its bytes, and their key in the blob store.
        format: Type by the leading bytes, such as `jpeg`.
        media_type: IANA media type.
        width: Pixels across, None for files that are no pictures.
        height: Pixels down, of one frame.
        frames: Number of frames; 1 for a still.
        bytes: Size of the file.
        name: Cleaned file name, for people only.
        parent: The image it was made from, None for what came in from outside; that image may be deleted since.
        root: The first image of its version chain.
        version: Counts from 1 within `root`.
        tool: Which tool made it, None for what came in from outside.
        steps: The steps that led from `parent` to here, in the wire form of `Plan`.
        facts: What the tool said beside the picture.
        created_at: Seconds since the epoch; when it was listed, if that was later, and if it is not, when it was last
            used.
        pinned: Whether it stays however little space there is.
        project: What its owner put it into, None for nothing.
        listed: Whether it is in the file library; others pass through, and go after a while.
    """

    id: str
    owner: str
    sha256: str
    format: str
    media_type: str
    width: int | None
    height: int | None
    frames: int
    bytes: int
    name: str
    parent: str | None
    root: str
    version: int
    tool: str | None
    steps: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    created_at: float
    pinned: bool = False
    project: str | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list of images, newest first: just after this one."""

    created_at: float
    id: str

    def to_text(self) -> str:
        """The cursor as callers hand it back; opaque to them."""
        return base64.urlsafe_b64encode(json.dumps([self.created_at, self.id]).encode()).decode().rstrip("=")

    @staticmethod
    def from_text(text: str) -> "Cursor":
        """The cursor that `to_text` wrote.

        Raises:
            InvalidSettings: It is none.
        """
        try:
            created_at, handle = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return Cursor(float(created_at), str(handle))
        except (ValueError, TypeError, binascii.Error) as error:
            raise InvalidSettings(
                "The cursor is not one that this list gave. Leave it out to start from the newest image.",
                field="cursor",
            ) from error


@dataclass(frozen=True, slots=True)
class Page:
    """Some images, newest first, and the cursor of the rest; None at the end."""

    images: Sequence[ImageRecord]
    next: str | None
