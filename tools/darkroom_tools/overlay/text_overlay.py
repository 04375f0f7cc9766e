"""Text Overlay."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.caption import CaptionPosition, caption
from darkroom_tools.kit.color import CheckedColor
from darkroom_tools.kit.text import FontName, VisibleText
from darkroom_tools.kit.unpublished import Unpublished

Length = Annotated[float, Field(ge=0, le=200)]


class TextOverlay(Settings):
    """What is written, where, and on what ground."""

    text: VisibleText
    """Newlines allowed"""

    font: FontName = "sans-serif"
    """sans-serif, serif or monospace"""

    font_size: Annotated[float, Field(ge=8, le=200)] = 48
    """Pixels"""

    color: CheckedColor = "#FFFFFF"
    """#RRGGBB"""

    x: float | None = None
    """Left edge; default centred"""

    y: float | None = None
    """Upper edge; wins over position"""

    position: CaptionPosition = "bottom"
    """Where without y"""

    background: CheckedColor | bool | None = None
    """Box behind it: #RRGGBB, or true for black"""

    background_box: Unpublished[bool] = False
    background_color: Unpublished[CheckedColor] = "#000000"

    padding: Length = 12
    """Inside the box, pixels"""

    border_radius: Length = 0
    """Of the box, pixels"""

    shadow: bool = True
    """Soft, behind the letters"""

    @field_validator("background", mode="before")
    @classmethod
    def _color_or_switch(cls, value: Any) -> Any:
        switch = {"true": True, "false": False}.get(value.casefold()) if isinstance(value, str) else None
        if switch is None and value is not None and not isinstance(value, str | bool):
            raise ValueError(f"'background' is #RRGGBB, true or false, but got {str(value)[:20]!r}.")
        return value if switch is None else switch

    @property
    def box(self) -> str | None:
        """Colour of the box behind the text, None for none; a colour alone asks for the box, too."""
        if isinstance(self.background, str):
            return self.background
        wanted = self.background
        if wanted is None:
            implied = "background_color" in self.model_fields_set and "background_box" not in self.model_fields_set
            wanted = self.background_box or implied
        return self.background_color if wanted else None


@tool(
    title="Text Overlay",
    sequential=True,
    example={"text": "A day by the sea", "fontSize": 32, "background": "#102030", "borderRadius": 8},
)
def text_overlay(image: Image, settings: TextOverlay) -> Image:
    """Write a caption on a picture, on a box or with a shadow."""
    return caption(
        image,
        settings.text,
        font=settings.font,
        font_size=settings.font_size,
        color=settings.color,
        x=settings.x,
        y=settings.y,
        position=settings.position,
        background=settings.box,
        padding=settings.padding,
        border_radius=settings.border_radius,
        shadow=settings.shadow,
    )
