"""The tools beside the image tools: what each is called, takes and promises."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from darkroom.docs import Page
from darkroom.errors import DarkroomError
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.corrections import corrected_arguments, with_known_names
from darkroom.faces.mcp.replies import error_reply
from darkroom.faces.mcp.tasks import Reply
from darkroom.principal import Permission
from darkroom_tools.schema import compact_schema
from darkroom_tools.settings import Settings, wire_names

__all__ = ["Manager", "flat_schema"]


@dataclass(frozen=True)
class Manager:
    """A tool that manages images, pipelines or jobs.

    Attributes:
        name: MCP name.
        title: For people.
        summary: What it does and when to use it.
        settings: Its arguments.
        handler: Carries it out.
        read_only: It changes nothing at all.
        destructive: It can delete or overwrite something.
        idempotent: Calling it again with the same arguments changes nothing more.
        open_world: It can reach the public internet, where URLs are allowed at all.
        structured: It answers with the shared output shape.
        example: Arguments of a call that works; `img_…` stands for any handle.
        category: Its heading in the documentation.
        needs: What its caller must be allowed to do.
    """

    name: str
    title: str
    summary: str
    settings: type[Settings]
    handler: Callable[[Call, Any], Awaitable[Reply]]
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False
    structured: bool = True
    example: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    category: str = "Management"
    needs: Permission = "tools:run"

    async def __call__(self, call: Call, arguments: Mapping[str, Any]) -> Reply:
        """Check the arguments and carry it out; errors come back as replies with a corrected call."""
        names = wire_names(self.settings)
        repaired = with_known_names(arguments, [*names, *self.settings.aliases])
        try:
            return await self.handler(call, self.settings.parse(repaired))
        except DarkroomError as error:
            models = {tool.id: tool.settings for tool in call.room.catalog.tools_for(call.principal)}
            fixed = corrected_arguments(error, repaired, self.settings, step_models=models)
            return error_reply(error, corrected={"name": self.name, "arguments": fixed} if fixed is not None else None)

    def page(self) -> Page:
        """Its page in the documentation."""
        schema = flat_schema(self.settings)
        return Page(self.name, self.title, self.category, self.summary, self.summary, schema, self.example)


def flat_schema(model: type[Settings]) -> dict[str, Any]:
    """The compact schema of arguments, with only what clients of every kind understand.

    Empty defaults are left out, and what a free-form object may hold: some clients refuse untyped schemas.
    """
    schema = compact_schema(model)
    schema.setdefault("properties", {})
    cleaned: dict[str, Any] = _plain(schema)
    return cleaned


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: _plain(prop) for name, prop in value.items()} if key == "properties" else _plain(value)
        for key, value in node.items()
        if not (key == "default" and value in ("", {}, []))
        and not (key == "additionalProperties" and value is not False)
    }
