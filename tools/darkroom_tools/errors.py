"""The one error hierarchy of Darkroom.

```
DarkroomError            code              HTTP status
├── InvalidSettings      INVALID_SETTINGS  400
├── InvalidImage         INVALID_IMAGE     400
├── UnsafeSvg            UNSAFE_SVG        400
├── UnsupportedFormat    UNSUPPORTED_FORMAT 415
├── LimitExceeded        IMAGE_TOO_LARGE … 413   (code given by the limit)
├── OutputTooLarge       OUTPUT_TOO_LARGE, TOO_MANY_OUTPUTS 400
├── ImageTooComplex      IMAGE_TOO_COMPLEX 422
├── PdfEncrypted         PDF_ENCRYPTED     422
├── ProcessingFailed     PROCESSING_FAILED 422
│   ├── NoFace             NO_FACE
│   ├── ProcessingTimeout  PROCESSING_TIMEOUT
│   ├── ProcessingCrashed  PROCESSING_CRASHED
│   └── OutOfMemory        OUT_OF_MEMORY
├── Cancelled            CANCELLED         499
├── ModelNotInstalled    MODEL_NOT_INSTALLED 501
├── ModelInvalid         MODEL_INVALID     501
├── RuntimeNotInstalled  RUNTIME_NOT_INSTALLED 501
└── (the server adds NotFound, PathNotAllowed, Overloaded … in darkroom.errors)
```

The text of an error is public: it says what came, what is allowed and what to do, and never holds a path of
the host, a library's own words or a stack trace. Causes go to the log through `raise … from`.
"""

from typing import Any, ClassVar


class DarkroomError(Exception):
    """Base of every error a caller may see.

    Args:
        message: One or two plain sentences: what came, what is allowed, what to do.
        details: JSON-ready facts for programs, such as `field`, `got`, `allowed`, `nearest`, `limit`.
        code: One of the class's `other_codes` instead of its own (see `LimitExceeded`).
    """

    code: str = "INTERNAL"
    status: int = 500
    retryable: ClassVar[bool] = False
    other_codes: ClassVar[tuple[str, ...]] = ()
    by_code: ClassVar[dict[str, type["DarkroomError"]]] = {}

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = {key: value for key, value in details.items() if value is not None}
        if code is not None:
            self.code = code

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for code in (cls.code, *vars(cls).get("other_codes", ())):
            DarkroomError.by_code.setdefault(code, cls)

    def to_wire(self) -> dict[str, Any]:
        """The error as JSON: `{"code", "error", "details"}`."""
        return {"code": self.code, "error": self.message, "details": self.details}

    @staticmethod
    def from_wire(wire: dict[str, Any]) -> "DarkroomError":
        """Rebuild an error that crossed a process border; an unknown code becomes a plain `DarkroomError`."""
        code = str(wire.get("code", DarkroomError.code))
        details = {str(key): value for key, value in dict(wire.get("details") or {}).items()}
        error = DarkroomError.by_code.get(code, DarkroomError)(str(wire.get("error", "")), code=code)
        error.details = details
        return error


class InvalidSettings(DarkroomError):
    """A setting is unknown, missing or outside its range."""

    code = "INVALID_SETTINGS"
    status = 400


class InvalidImage(DarkroomError):
    """The bytes are no readable image of the type that their first bytes announce."""

    code = "INVALID_IMAGE"
    other_codes = ("EMPTY_FILE",)
    status = 400


class UnsafeSvg(DarkroomError):
    """The SVG holds what no drawing needs and attacks use, such as entities."""

    code = "UNSAFE_SVG"
    status = 400


class UnsupportedFormat(DarkroomError):
    """The bytes, or the format asked for, are of a type that this build does not read or write."""

    code = "UNSUPPORTED_FORMAT"
    status = 415


class LimitExceeded(DarkroomError):
    """An input is over a limit; `code` names which: IMAGE_TOO_LARGE, FILE_TOO_LARGE, TOO_MANY_FRAMES, …"""

    code = "IMAGE_TOO_LARGE"
    other_codes = ("FILE_TOO_LARGE", "METADATA_TOO_LARGE", "TOO_MANY_FRAMES", "TOO_MANY_PAGES")
    status = 413


class OutputTooLarge(DarkroomError):
    """The settings ask for a result over the output limits."""

    code = "OUTPUT_TOO_LARGE"
    other_codes = ("TOO_MANY_OUTPUTS",)
    status = 400


class ImageTooComplex(DarkroomError):
    """The file is small but built to be expensive (many scans, huge compressed text)."""

    code = "IMAGE_TOO_COMPLEX"
    status = 422


class PdfEncrypted(DarkroomError):
    """The PDF opens with a password only."""

    code = "PDF_ENCRYPTED"
    status = 422


class ProcessingFailed(DarkroomError):
    """The operation could not be carried out on this image."""

    code = "PROCESSING_FAILED"
    status = 422


class NoFace(ProcessingFailed):
    """The operation is about a face, and none was found."""

    code = "NO_FACE"


class ProcessingTimeout(ProcessingFailed):
    """The operation took longer than its wall-clock limit and was stopped."""

    code = "PROCESSING_TIMEOUT"


class ProcessingCrashed(ProcessingFailed):
    """The worker died on this input, also in the retry."""

    code = "PROCESSING_CRASHED"


class OutOfMemory(ProcessingFailed):
    """The operation needed more memory than a worker may have."""

    code = "OUT_OF_MEMORY"


class Cancelled(DarkroomError):
    """The caller cancelled the work."""

    code = "CANCELLED"
    status = 499


class ModelNotInstalled(DarkroomError):
    """The model asked for is not on this machine; the text holds the command that installs it."""

    code = "MODEL_NOT_INSTALLED"
    status = 501


class ModelInvalid(DarkroomError):
    """The model's file is damaged, needs more than itself, or is not the model that the tool expects."""

    code = "MODEL_INVALID"
    status = 501


class RuntimeNotInstalled(DarkroomError):
    """ONNX Runtime is not installed; the text holds the command that installs it."""

    code = "RUNTIME_NOT_INSTALLED"
    status = 501
