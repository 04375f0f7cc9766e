"""How dialect 001 speaks: flat errors, each with a code."""

from typing import Any, Final, NotRequired

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.routing import Dialect
from darkroom_tools.errors import DarkroomError

__all__ = ["DIALECT", "FailedFile", "Refusal", "code_of", "status_of"]

CODES: Final = {
    "UNAUTHORIZED": "AUTH_REQUIRED",
    "INVALID_SETTINGS": "VALIDATION_ERROR",
    "MODEL_NOT_INSTALLED": "FEATURE_NOT_INSTALLED",
    "RUNTIME_NOT_INSTALLED": "FEATURE_NOT_INSTALLED",
    "ENGINE_NOT_CONFIGURED": "FEATURE_NOT_INSTALLED",
    "PROCESSING_TIMEOUT": "TIMEOUT",
    "CANCELLED": "CANCELED",
}
"""What this dialect calls our codes; all others keep their names."""

STATUSES: Final = {"UNSUPPORTED_FORMAT": 400, "PROCESSING_TIMEOUT": 504, "CANCELLED": 409}
"""Statuses of this dialect that are not ours, by our code."""

FEATURES: Final = {"RUNTIME_NOT_INSTALLED": "onnx-runtime", "ENGINE_NOT_CONFIGURED": "image-engine"}
"""What is missing where no model is named."""

LIFTED: Final = ("errors", "completedSteps")
"""Details that clients look for beside the text."""


class FailedFile(TypedDict):
    """A file of a batch that nothing was made of."""

    filename: str
    error: str
    code: str


class Refusal(TypedDict):
    """An error."""

    error: str
    code: str
    details: dict[str, Any]
    requestId: str
    feature: NotRequired[str]
    featureName: NotRequired[str]
    errors: NotRequired[list[FailedFile]]
    completedSteps: NotRequired[int]


def code_of(code: str) -> str:
    """The name that one of our codes has here."""
    return CODES.get(code, code)


def status_of(error: DarkroomError) -> int:
    """The status that an error has here."""
    return STATUSES.get(error.code, error.status)


def refuse(_request: Request, error: DarkroomError, reference: str) -> Response:
    """The answer for an error."""
    lifted = {name: error.details[name] for name in LIFTED if name in error.details}
    details = {name: value for name, value in error.details.items() if name not in lifted}
    body: dict[str, Any] = {"error": error.message, "code": code_of(error.code), "details": details}
    if body["code"] == "FEATURE_NOT_INSTALLED":
        feature = str(details.get("model") or FEATURES.get(error.code, "model"))
        body |= {"feature": feature, "featureName": feature.replace("-", " ")}
    return JSONResponse({**body, **lifted, "requestId": reference}, status_of(error))


BLURB: Final = """\
Tools, pipelines, files and people in the manner of Stirling Image ("snapotter"). A tool answers with the file it made; \
`Accept: application/json` asks for `{jobId, downloadUrl, …}` instead, and `Prefer: respond-async` for `202` at once.

What the public description leaves open and is proposed here: `GET /api/v1/tools` and `/api/v1/tools/{id}` tell what there is; \
`GET /api/v1/jobs/{id}` tells once what its `/progress` streams, and `POST …/cancel` ends the work; \
`GET /api/v1/download/{jobId}/{name}` hands a result out again for as long as it is kept; a call that takes over a minute \
goes on and answers `202`; `pipelineId` runs a saved pipeline; a ZIP of a batch holds `_report.json`, and `errors.json` where \
files failed; `Idempotency-Key` makes a repeated call one call.
"""

DIALECT: Final = Dialect(
    name="Stirling Image",
    prefixes=("/api/v1", "/api/auth"),
    refuse=refuse,
    blurb=BLURB,
    error=Refusal,
    tags={
        "/api/auth/*": "Auth",
        "/api/v1/api-keys*": "API Keys",
        "/api/v1/branding/*": "Branding",
        "/api/v1/config/*": "System",
        "/api/v1/download/*": "Jobs",
        "/api/v1/files*": "Files",
        "/api/v1/health": "System",
        "/api/v1/openapi.yaml": "System",
        "/api/v1/jobs/*": "Jobs",
        "/api/v1/pipeline/*": "Pipelines",
        "/api/v1/settings*": "Settings",
        "/api/v1/teams*": "Teams",
        "/api/v1/tools/*/batch": "Batch",
        "/api/v1/tools*": "Tools",
        "/api/v1/upload": "Files",
    },
)
