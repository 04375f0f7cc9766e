"""Edit Image."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom_tools.base import Attachment, Generation, tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.generation import AspectRatio
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.kit.generating import Generating
from darkroom_tools.kit.unpublished import Unpublished

MOST_REFERENCES = 8
LONGEST_ROLE = 60


class EditImage(Generating):
    """What is to change."""

    aspect_ratio: Unpublished[AspectRatio] = "auto"
    """Of the result; auto is that of image"""

    variant: Unpublished[Annotated[int, Field(ge=0)]] = 0
    """Another number, another picture"""

    roles: Unpublished[Annotated[list[Annotated[str, Field(max_length=LONGEST_ROLE)]], Field(max_length=9)]] = Field(
        default_factory=list
    )
    """What the pictures are, in order: image, then references"""

    fidelity: Unpublished[Literal["auto", "low", "high"]] = "auto"
    """How closely faces and patterns are kept"""


@tool(title="Edit Image", most=MOST_REFERENCES, example={"prompt": "Make it a winter evening, snow on the ground"})
def edit_image(
    image: Attachment, settings: EditImage, references: list[Attachment] | None = None, mask: Attachment | None = None
) -> Generation:
    """Change a picture by words; references are images 2, 3…; mask: white changes.

    The prompt counts the pictures: `image` is image 1, the references follow. `roles` names them for the model, such as
    `["person", "clothes"]`. Pictures leave without metadata, at most 2048 pixels a side.
    """
    pictures = (image, *(references or ()))
    if len(settings.roles) > len(pictures):
        raise InvalidSettings(
            f"'roles' names {len(settings.roles)} pictures, but {len(pictures)} came.",
            field="roles",
            got=len(settings.roles),
            limit=len(pictures),
        )
    roles = [" ".join(clean_text(role, LONGEST_ROLE).split()) for role in settings.roles]
    said = " ".join(f"Image {number} is: {role}." for number, role in enumerate(roles, 1) if role)
    return Generation(
        prompt=f"{said}\n\n{settings.prompt}" if said else settings.prompt,
        images=pictures,
        mask=mask,
        aspect_ratio=settings.aspect_ratio,
        image_size=settings.image_size,
        quality=settings.quality,
        background=settings.background,
        fidelity=settings.fidelity,
        variant=settings.variant,
    )
