"""Addresses: what each needs of its caller, what it says of itself, and which dialect answers there."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, Literal, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from darkroom.errors import Forbidden, Unauthorized
from darkroom.principal import Permission, Principal
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.settings import Settings

__all__ = [
    "FILE",
    "PRINCIPAL",
    "PUBLIC",
    "SIGNED_IN",
    "Dialect",
    "Door",
    "Endpoint",
    "Needs",
    "Says",
    "dialect_at",
    "parse_json",
    "principal_of",
    "read_json",
    "read_query",
]

PUBLIC: Final = "public"
SIGNED_IN: Final = "signed in"
Needs = Permission | Literal["public", "signed in"]
"""A permission, or one of: anybody; anybody who is known."""

PRINCIPAL: Final = "darkroom.principal"
"""Where the caller stands in a request's scope: a principal, or why there is none."""

FILE: Final[Mapping[str, Any]] = {"type": "string", "format": "binary"}
"""Schema of a file in a form."""

DEEPEST: Final = 64
MOST_DIGITS: Final = 20

Model = TypeVar("Model", bound=Settings)
Refuse = Callable[[Request, DarkroomError, str], Response]
"""Makes the answer for an error; the text is the request's id."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one of the faces over HTTP speaks.

    Attributes:
        name: For people, such as `Solo Works`.
        prefixes: Beginnings of its paths; of all dialects the longest one that fits decides.
        refuse: Its form of an error, also for what is refused before any route is looked for.
        blurb: What the documentation says of it, Markdown; with what its public description leaves open and is our proposal.
        body_bytes: Longest body that is no form.
        error: Type of its errors' bodies, as an answer of `Says`.
        tags: Groups of its addresses in the documentation: a name by a pattern of paths, such as `/api/v1/tools/*/batch`;
            the first that fits counts. Where none does, the group is the dialect.
    """

    name: str
    prefixes: tuple[str, ...]
    refuse: Refuse
    blurb: str = ""
    body_bytes: int = 4 * 1024 * 1024
    error: Any = None
    tags: Mapping[str, str] = field(default_factory=dict)


def dialect_at(path: str, dialects: Iterable[Dialect]) -> Dialect | None:
    """Who speaks at a path: the dialect of whose prefixes the longest one fits."""
    fitting = (
        (len(prefix), dialect)
        for dialect in dialects
        for prefix in dialect.prefixes
        if path == prefix or path.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
    )
    return max(fitting, key=itemgetter(0), default=(0, None))[1]


@dataclass(frozen=True, slots=True)
class Says:
    """What the documentation says of an address. Types are what pydantic can make a JSON Schema of.

    Attributes:
        summary: One sentence.
        query: Model of the query.
        body: Model of a JSON body.
        form: Fields of a form: a schema for each (`FILE` for a file), those of `required` first.
        required: Fields that a form must have.
        answer: What comes back: a type for JSON (a model, or a TypedDict of typing_extensions, which pydantic needs), a
            media type such as `image/*` for bytes, a list of such where it is one of several, None for nothing.
        status: Of success.
        more: Further answers by status, each a type or media type.
        headers: Of the answer: what each says.
        tools: Whether its one path parameter names a tool; the documentation then has an address for each tool.
        inferred: What of this the public description of the dialect does not say.
    """

    summary: str
    query: type[Settings] | None = None
    body: type[Settings] | None = None
    form: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: Sequence[str] = ()
    answer: Any = None
    status: int = 200
    more: Mapping[int, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    tools: bool = False
    inferred: str = ""


class Door(Route):
    """A route that says who may come in. The application takes no other.

    Args:
        path: As Starlette writes it, without a slash at the end; with one it is found too.
        endpoint: Handles the request, or is an ASGI application.
        needs: A permission, `SIGNED_IN` or `PUBLIC`.
        methods: GET if empty; an ASGI application gets all.
        says: For the documentation; None for what no API client calls.
        before_new_password: Whether those may come in too who must change their password first.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        needs: Needs,
        methods: Sequence[str] = (),
        says: Says | None = None,
        before_new_password: bool = False,
    ) -> None:
        super().__init__(path, endpoint, methods=list(methods) or None)
        self.needs = needs
        self.says = says
        self.before_new_password = before_new_password
        self._inside = self.app
        self.app = self._enter

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        came = scope.get(PRINCIPAL)
        if self.needs != PUBLIC:
            if not isinstance(came, Principal):
                raise (
                    came
                    if isinstance(came, Unauthorized)
                    else Unauthorized("This needs a key or a session: Authorization: Bearer <key>.")
                )
            if came.must_change_password and not self.before_new_password:
                raise Forbidden("Change your password first: somebody else set it.", code="MUST_CHANGE_PASSWORD")
            if self.needs != SIGNED_IN and not came.may(self.needs):
                raise Forbidden(
                    f"This needs the permission {self.needs}, which you or your key lack.", needs=self.needs
                )
        await self._inside(scope, receive, send)


def principal_of(request: Request) -> Principal:
    """Who asks.

    Raises:
        Unauthorized: Nobody who is known.
    """
    came = request.scope.get(PRINCIPAL)
    if isinstance(came, Principal):
        return came
    raise Unauthorized("This needs a key or a session: Authorization: Bearer <key>.")


async def read_json(request: Request, model: type[Model]) -> Model:
    """The body of a request.

    Raises:
        InvalidSettings: It is no JSON object, or one that does not fit the model.
    """
    return model.parse(parse_json(await request.body()))


def read_query(request: Request, model: type[Model]) -> Model:
    """The query of a request; a name that stands there several times is a list.

    Raises:
        InvalidSettings: It does not fit the model.
    """
    params = request.query_params
    return model.parse({key: values if len(values := params.getlist(key)) > 1 else values[0] for key in params})


def parse_json(text: str | bytes) -> dict[str, Any]:
    """A JSON object from a stranger.

    Raises:
        InvalidSettings: It is no UTF-8, no JSON, no object, nested deeper than 64, or holds NaN or endless digits.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    def integer(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise ValueError("a number has too many digits")
        return int(digits)

    try:
        written = text.decode() if isinstance(text, bytes) else text
        value = json.loads(written or "{}", parse_constant=refuse, parse_int=integer)
        if "\\ud" in written or "\\uD" in written:
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair is no text, and nothing could store it
    except (ValueError, RecursionError) as error:
        raise InvalidSettings("The body is no valid JSON in UTF-8.", field="body") from error
    if not isinstance(value, dict):
        raise InvalidSettings("The body should be a JSON object.", field="body", got=type(value).__name__)
    if _depth(value) > DEEPEST:
        raise InvalidSettings(f"The body is nested deeper than {DEEPEST}.", field="body")
    return value


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        found, depth = waiting.pop()
        deepest = max(deepest, depth)
        inside = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        waiting += [(each, depth + 1) for each in inside]
    return deepest


Endpoint = Callable[[Request], Awaitable[Response]]
