"""What the MCP face needs of the running Darkroom."""

from collections.abc import Callable, Collection, Mapping
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
    from darkroom.accounts.credits import Credits
    from darkroom.engine.models import ModelService
    from darkroom.export import Exporter
    from darkroom.jobs.service import Jobs
    from darkroom.library.library import Library
    from darkroom.library.uploads import Uploads
    from darkroom.links import Links

__all__ = ["Context", "Pace", "Room"]

Context = ServerRequestContext[dict[str, Any], Any]
"""What the SDK hands to a request handler."""

# By `clientInfo.name`: progress keeps these waiting, where others give up after a minute whatever they are told.
PATIENT_CLIENTS = frozenset({"claude-code", "darkroom-cli"})


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a call may keep its client waiting, and how often it says something.

    Attributes:
        wait: Seconds until a call answers with a job handle.
        client_waits: Fewer seconds for clients that give up sooner, by `clientInfo.name`.
        patient_clients: Clients that wait as long as they are told of progress.
        moment: Seconds until a call of a client that knows tasks answers with one.
        interval: Least seconds between two progress notifications.
        heartbeat: Most seconds between two progress notifications.
    """

    wait: float = 30.0
    client_waits: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    patient_clients: Collection[str] = PATIENT_CLIENTS
    moment: float = 1.0
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
    credits: "Credits"
    http_principal: Callable[[Context], Principal]
    fetch: bool
    docs: Callable[[], str]
    pace: Pace = Pace()

    def principal(self, ctx: Context) -> Principal:
        """Who is calling."""
        here = connection()
        return self.http_principal(ctx) if here is None else here.principal
