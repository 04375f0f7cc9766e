"""The model process: the only one that loads ONNX Runtime. Started by `ModelService` with the number of its socket.

It sees arrays only, never a file of a user. Before anything native is loaded it gives up all files but the
interpreter's, the models' and the devices', and the network.
"""

import contextlib
import logging
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Final

from darkroom.engine.channel import Channel
from darkroom.engine.gpu import present_gpu
from darkroom.engine.sandbox import readable_paths

__all__ = ["main"]

logger = logging.getLogger(__name__)

ENVIRONMENT: Final = {
    # ONNX Runtime reports to its maker unless it is told not to before it is loaded.
    "ORT_DISABLE_TELEMETRY": "1",
    # Lanes are the parallelism here; threads of NumPy's linear algebra would only add to them.
    "OPENBLAS_NUM_THREADS": "1",
}
DEVICE_NODES: Final = ("nvidia*", "nvidia-caps/*", "dri/*", "kfd", "dxg")


def main() -> None:
    """Serve the socket whose descriptor is the first argument until the server closes it."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    settings, _ = channel.receive()
    _limit_resources()
    gpu = present_gpu()
    _restrict_files(Path(settings["models"]))
    os.environ.update(ENVIRONMENT)
    try:
        from darkroom.engine.devices import choose_device
        from darkroom.engine.lanes import Lanes
        from darkroom.engine.sessions import Model, Sessions
    except ImportError:
        logger.exception("ONNX Runtime cannot be loaded")
        channel.send({"broken": True})
        return
    choice = choose_device(settings["providers"], gpu=gpu, memory_bytes=settings["memory"])
    keep = [Model.from_wire(wire) for wire in settings["keep"]]
    Lanes(channel, choice, Sessions(settings["memory"])).serve(keep)
    # A lane may be deep in native code, and nobody waits for it.
    os._exit(0)


def _limit_resources() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, 65_536) if wanted > 0 else 65_536, wanted))


def _restrict_files(models: Path) -> None:
    """Landlock as far as the machine has it; a thread that runs already would stay free, so this comes first."""
    if sys.platform != "linux":
        return
    from landlockpy import AccessFS, Ruleset, Scope, supported

    if not supported():
        return
    look = AccessFS.READ_FILE | AccessFS.READ_DIR
    places = [*readable_paths(), models, *(Path(place) for place in sys.path)]
    places += [Path(place) for place in ("/usr", "/opt", "/proc", "/sys")]
    with Ruleset(scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL) as rules:
        for place in places:
            if place.exists():
                rules.allow_path(place, look if place.is_dir() else AccessFS.READ_FILE)
        for pattern in DEVICE_NODES:
            for node in Path("/dev").glob(pattern):
                if not node.is_dir():
                    rules.allow_path(node, AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.IOCTL_DEV)
        rules.restrict()


if __name__ == "__main__":
    main()
