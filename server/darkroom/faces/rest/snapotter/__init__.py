"""The dialect of Stirling Image: tools, pipelines, files, people and the site."""

from collections.abc import Sequence

from darkroom.app import Darkroom
from darkroom.faces.rest.snapotter.batches import batch_routes
from darkroom.faces.rest.snapotter.dialect import DIALECT
from darkroom.faces.rest.snapotter.downloads import download_routes
from darkroom.faces.rest.snapotter.files import file_routes
from darkroom.faces.rest.snapotter.keys import key_routes
from darkroom.faces.rest.snapotter.people import people_routes
from darkroom.faces.rest.snapotter.pipelines import pipeline_routes
from darkroom.faces.rest.snapotter.progress import progress_routes
from darkroom.faces.rest.snapotter.runs import Runs
from darkroom.faces.rest.snapotter.site import site_routes
from darkroom.faces.rest.snapotter.tools import tool_routes
from darkroom.routing import Door

__all__ = ["DIALECT", "snapotter_routes"]


def snapotter_routes(room: Darkroom) -> Sequence[Door]:
    """All addresses of the dialect."""
    runs = Runs(room)
    running = [
        *tool_routes(runs),
        *batch_routes(runs),
        *pipeline_routes(runs),
        *progress_routes(runs),
        *download_routes(runs),
    ]
    return [*running, *people_routes(room), *key_routes(room), *file_routes(room), *site_routes(room)]
