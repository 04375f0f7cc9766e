"""What the MCP face needs of the running Darkroom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mcp.server.context import ServerRequestContext

from darkroom.catalog import Catalog
from darkroom.faces.mcp.stream import connection
from darkroom.principal import Principal
from darkroom.workflows.service import Workflows

if TYPE_CHECKING:
    from darkroom.engine.models import ModelService
    from darkroom.export import Exporter
    from darkroom.jobs.service import Jobs
    from darkroom.library.library import Library
    from darkroom.library.uploads import Uploads
    from darkroom.links import Links

__all__ = ["Context", "Pace", "Room"]

Context = ServerRequestContext[dict[str, Any], Any]
"""What the SDK hands to a request handler."""

# Clients that neither show progress nor let it prolong a call, by `clientInfo.name`: they give up after 60 s.
CLIENT_WAITS = MappingProxyType({"claude-ai": 45.0, "codex-mcp-client": 45.0, "openai-mcp": 45.0})


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a call may keep its client waiting, and how often it says something.

    Attributes:
        wait: Seconds until a call without progress answers with a job handle.
        client_waits: The same for clients that gain nothing from progress, by `clientInfo.name`.
        interval: Least seconds between two progress notifications.
        heartbeat: Most seconds between two progress notifications.
    """

    wait: float = 45.0
    client_waits: Mapping[str, float] = field(default_factory=lambda: CLIENT_WAITS)
    interval: float = 0.1
    heartbeat: float = 8.0


@dataclass(frozen=True, slots=True)
class Room:
    """The parts behind the MCP server.

    Attributes:
        models_dir: Where model files are.
        http_principal: Who is behind an HTTP request; stream connections bring their own.
        fetch: Whether https URLs may be given as images.
        docs: The text of llms.txt.
    """

    version: str
    catalog: Catalog
    workflows: Workflows
    jobs: "Jobs"
    library: "Library"
    uploads: "Uploads"
    exporter: "Exporter"
    links: "Links"
    models: "ModelService"
    models_dir: Path
    http_principal: Callable[[Context], Principal]
    fetch: bool
    docs: Callable[[], str]
    pace: Pace = Pace()

    def principal(self, ctx: Context) -> Principal:
        """Who is calling."""
        here = connection()
        return self.http_principal(ctx) if here is None else here.principal
