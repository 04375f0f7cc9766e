"""Where everything lives. The relay starts from here, so imports that take time wait until they are needed."""

import os
from pathlib import Path

__all__ = ["DataDir", "data_dir"]

LONGEST_SOCKET_PATH = 100
"""Kernels allow 104 to 108 bytes for the path of a Unix socket."""


class DataDir:
    """The folders and files of one Darkroom.

    Attributes:
        root: The folder that holds them all.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def database(self) -> Path:
        """The embedded database."""
        return self.root / "darkroom.db"

    @property
    def blobs(self) -> Path:
        """Content-addressed files."""
        return self.root / "blobs"

    @property
    def models(self) -> Path:
        """Model files and their manifest."""
        return self.root / "models"

    @property
    def run(self) -> Path:
        """What belongs to the running server only."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        """Held by the one server of this folder."""
        return self.run / "server.lock"

    @property
    def log(self) -> Path:
        """What a server that was started in the background says."""
        return self.run / "server.log"

    @property
    def socket(self) -> Path:
        """The owner-only socket that relays connect to."""
        path = self.run / "darkroom.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        import hashlib
        import tempfile

        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"darkroom-{os.getuid()}" / f"{digest}.sock"

    def create(self) -> None:
        """Make the folders, readable by the owner only.

        Raises:
            PermissionError: The socket's folder exists and belongs to somebody else.
        """
        for folder in (self.root, self.blobs, self.models, self.run, self.socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.socket.parent.stat().st_uid != os.getuid():
            raise PermissionError(f"{self.socket.parent} belongs to another user")


def data_dir(chosen: str | os.PathLike[str] | None = None) -> DataDir:
    """The folder chosen, else `DARKROOM_DATA_DIR`, else the platform's place for application data."""
    folder = chosen or os.environ.get("DARKROOM_DATA_DIR")
    if not folder:
        import platformdirs  # deferred: a chosen folder needs no platform lookup

        folder = platformdirs.user_data_dir("darkroom", appauthor=False)
    return DataDir(Path(folder).expanduser().absolute())
