"""Face Enhancement."""

from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.face_restore import RESTORE_MODELS, restored
from darkroom_tools.kit.faces import FACE_MODELS, Face, find_faces
from darkroom_tools.kit.named_model import known_model, wanted_model
from darkroom_tools.kit.pixels import first_frame
from darkroom_tools.shape import still as still_shape

OF_A_KIND: Final = {"gfpgan": ("gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2")}
"""Names that stand for the first installed of several."""

NAMES: Final = ("auto", "gfpgan", "codeformer", *(model for model in RESTORE_MODELS if model != "codeformer"))

SHOWN: Final = 100


Model = Annotated[
    str,
    AfterValidator(known_model(NAMES)),
    WithJsonSchema({"type": "string", "enum": ["auto", "gfpgan", "codeformer"]}),
]
"""All ids are accepted; only the usual names are published."""


class EnhanceFaces(Settings):
    """Which faces are restored, by what, and how much."""

    aliases: ClassVar = {"onlyCenterFace": "centerFace"}

    model: Model = "auto"
    """codeformer: non-commercial licence"""

    strength: Annotated[float, Field(ge=0, le=1)] = 0.8
    """0 leaves the picture"""

    sensitivity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Higher finds more faces"""

    center_face: bool = False
    """Only the one nearest the middle"""


@tool(title="Face Enhancement", models=(*RESTORE_MODELS, *FACE_MODELS), shape=still_shape)
def enhance_faces(image: Image, settings: EnhanceFaces, run: Run) -> Image:
    """Restore blurred or damaged faces by a network.

    Needs a model: without one the error says which command installs it.
    """
    model = wanted_model(settings.model, "face-restore", run, OF_A_KIND)
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is enhanced.")
    pixels = still.pixels.copy_memory()
    run.progress(0, "looking for faces")
    faces = find_faces(pixels, settings.sensitivity, run).found
    if settings.center_face:
        faces = faces and (min(faces, key=lambda face: _off_center(face, pixels.width, pixels.height)),)
    boxes = [
        {"x": round(face.left), "y": round(face.top), "w": round(face.width), "h": round(face.height)}
        for face in faces[:SHOWN]
    ]
    result = still.with_facts(method=model.id, facesDetected=len(faces), faces=boxes)
    if not faces:
        return result.warn("No face was found, so nothing was changed. Raise 'sensitivity'.")

    def report(done: float) -> None:
        run.progress(0.1 + 0.8 * done, f"face {round(done * len(faces))} of {len(faces)}")

    return result.with_pixels(restored(pixels, faces, run, model=model, strength=settings.strength, report=report))


def _off_center(face: Face, width: int, height: int) -> float:
    x, y = face.center
    return (x - width / 2) ** 2 + (y - height / 2) ** 2
