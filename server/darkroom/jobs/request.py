"""From a caller's arguments to a validated request: steps, and the bytes they run on, item by item."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from darkroom.engine.build import build
from darkroom.engine.limits import Limits
from darkroom.intake import Resolved
from darkroom.store.ids import new_id
from darkroom_tools.base import Settings, Tool
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.kit.clean import clean_name
from darkroom_tools.plan import Plan, input_ref

__all__ = ["MOST_ITEMS", "Call", "Item", "Request", "fingerprint", "make_request"]

MOST_ITEMS = 200
"""Images of one batch, and of one list parameter."""


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed call: settings, and for each item the image values by wire name, as the caller wrote them."""

    settings: Settings
    items: Sequence[Mapping[str, Sequence[Any]]]

    @staticmethod
    def parse(tool: Tool, arguments: Mapping[str, Any], each: str | None) -> "Call":
        """Validate a call; with `each` that image parameter holds a list and makes one item of every element.

        Raises:
            InvalidSettings: An argument is unknown, missing or out of range; TOO_MANY_FILES for over 200 images.
        """
        if each is None:
            images, settings = tool.parse(arguments)
            return Call(settings, [_checked(images)])
        name, values = _batch(tool, arguments, each)
        others = {key: value for key, value in arguments.items() if key not in (name, each)}
        images, settings = tool.parse({**others, name: values[0]})
        _checked({**images, name: values})
        return Call(settings, [{**images, name: [value]} for value in values])


def _batch(tool: Tool, arguments: Mapping[str, Any], each: str) -> tuple[str, list[Any]]:
    """Wire name and values of the parameter that a batch goes over."""
    single = {alias: image.name for image in tool.inputs if not image.many for alias in (image.name, image.parameter)}
    if each not in single:
        raise InvalidSettings(
            f"{each!r} takes no batch. Of {tool.id} these do: {', '.join(dict.fromkeys(single.values())) or 'none'}.",
            field=each,
        )
    name = single[each]
    values = arguments.get(name, arguments.get(each))
    if not isinstance(values, list) or not values:
        raise InvalidSettings(f"{name!r} should be a list of at least one image.", field=name)
    return name, values


def _checked(images: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for name, values in images.items():
        if len(values) > MOST_ITEMS:
            raise InvalidSettings(
                f"{name!r} has {len(values)} images; {MOST_ITEMS} may come at once. Split them over several calls.",
                code="TOO_MANY_FILES",
                field=name,
                got=len(values),
                limit=MOST_ITEMS,
            )
    return images


def fingerprint(
    tool: Tool, call: Call, arguments: Mapping[str, Any], each: str | None, *, archive: bool = False
) -> str:
    """SHA-256 of a call as it was written: what an idempotency key stands for.

    The steps belong to it, because those of a pipeline are not among its arguments. A saved workflow is named instead:
    the same call stays the same after its workflow was changed.
    """
    steps = None if tool.workflow else _plan(tool, call).to_wire()
    return _digest([tool.workflow or tool.id, steps, arguments, each, archive])


def _digest(value: Any) -> str:
    written = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(written.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Item:
    """One run of the plan.

    Attributes:
        inputs: Digests of the input bytes, in the order of the plan's references.
        sources: Handles of the inputs, in the same order.
        names: File names of the inputs, in the same order; of an item that cannot run, what is known of them.
        new: Those of `sources` that are recorded with the result; the others are in the library already.
        key: What the answer is filed under: equal for equal steps, bytes, build and models, and for equal names
            where the result holds them.
        error: Why it cannot run: `{"code", "error", "details"}`.
    """

    inputs: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    key: str = ""
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a job is to do; kept in its row.

    Attributes:
        plan: The steps.
        items: What they run on.
        read_only: Whether the tool only reports, so that nothing of it enters the library.
        wall: Seconds that one item may take.
        archive: Whether all results are wanted in one ZIP too.
        credits: What one item costs.
        listed: Whether sources and results enter the file library.
    """

    plan: Plan
    items: list[Item]
    read_only: bool
    wall: float
    archive: bool = False
    credits: int = 0
    listed: bool = True

    def to_wire(self) -> dict[str, Any]:
        """The request as JSON values."""
        items = [asdict(item) for item in self.items]
        return {
            "plan": self.plan.to_wire(),
            "items": items,
            "read_only": self.read_only,
            "wall": self.wall,
            "archive": self.archive,
            "credits": self.credits,
            "listed": self.listed,
        }

    @staticmethod
    def from_wire(wire: Mapping[str, Any]) -> "Request":
        """The request that `to_wire` wrote."""
        items = [Item(**item) for item in wire["items"]]
        later = {name: wire[name] for name in ("archive", "credits", "listed") if name in wire}
        return Request(Plan.from_wire(wire["plan"]), items, wire["read_only"], wire["wall"], **later)

    def archive_item(self) -> Item:
        """What the ZIP of all results is filed under."""
        return Item(key=_digest(["zip", [[item.key, item.names] for item in self.items]]))

    def digests(self) -> set[str]:
        """All bytes that the request needs."""
        return {digest for item in self.items for digest in item.inputs}

    def temporary(self) -> set[str]:
        """Bytes that only came in for a report; they go when it is made."""
        if not self.read_only:
            return set()
        new = ((item, n) for item in self.items for n, handle in enumerate(item.sources) if handle in item.new)
        return {item.inputs[n] for item, n in new}


def make_request(
    tool: Tool,
    call: Call,
    resolved: Sequence[Mapping[str, Sequence[Resolved]] | DarkroomError],
    models: Mapping[str, str],
    limits: Limits,
    *,
    archive: bool = False,
    engine: Callable[[Plan], str] = lambda _: "",
) -> Request:
    """Put steps and resolved inputs together.

    Args:
        resolved: For each item its images by wire name, or why it has none.
        models: Digests of the installed models by id.
        archive: Whether all results are wanted in one ZIP too.
        engine: Refuses a plan that cannot be carried out, or tells what else results depend on.
    """
    plan = _plan(tool, call)
    used = {model: models[model] for model in tool.models if model in models}
    if identity := engine(plan):
        used["engine"] = identity
    handles: dict[str, str] = {}
    items = [
        Item(error=images.to_wire(), names=[_label(value) for values in written.values() for value in values])
        if isinstance(images, DarkroomError)
        else _item(plan, images, used, handles, named=tool.named)
        for written, images in zip(call.items, resolved, strict=True)
    ]
    most_inputs = max((len(item.inputs) for item in items), default=0)
    wall = limits.model_seconds if tool.models else limits.tool_seconds
    wall += limits.further_input_seconds * max(0, most_inputs - 1)
    return Request(plan, items, tool.read_only, wall, archive)


def _label(value: Any) -> str:
    """What people may call an image that did not come in."""
    if isinstance(value, Resolved):
        return value.name
    if isinstance(value, DarkroomError):
        return str(value.details.get("filename", "image"))
    return clean_name(value) if isinstance(value, str) and not value.lstrip().startswith("data:") else "image"


def _plan(tool: Tool, call: Call) -> Plan:
    references: dict[str, list[str]] = {}
    count = 0
    for name, values in call.items[0].items():
        references[name] = [input_ref(count + n) for n in range(len(values))]
        count += len(values)
    return tool.plan(call.settings, references)


def _item(
    plan: Plan,
    images: Mapping[str, Sequence[Resolved]],
    models: Mapping[str, str],
    handles: dict[str, str],
    *,
    named: bool,
) -> Item:
    inputs = [image for values in images.values() for image in values]
    for image in inputs:
        if image.handle is None and image.sha256 not in handles:
            handles[image.sha256] = new_id("img")
    digests = [image.sha256 for image in inputs]
    names = [image.name for image in inputs]
    return Item(
        inputs=digests,
        sources=[image.handle or handles[image.sha256] for image in inputs],
        names=names,
        new=sorted({handles[image.sha256] for image in inputs if image.handle is None}),
        key=_digest([plan.digest(digests), build(), models, *([names] if named else [])]),
    )
