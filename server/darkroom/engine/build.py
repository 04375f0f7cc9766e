"""What this installation would answer: a digest of everything that decides about a result's bytes."""

import functools
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Final

import darkroom_tools

__all__ = ["build"]

LIBRARIES: Final = ("numpy", "pillow", "pypdfium2", "pyvips-binary", "segno", "vtracer", "zxing-cpp")
LARGE: Final = frozenset({".ttf", ".otf", ".woff2"})
"""Files that are told apart by name and size."""


@functools.cache
def build() -> str:
    """SHA-256 over the tools, the engine and the versions of the native libraries.

    An answer of the library is one of this build: after an update the same call is computed anew. It reads some
    megabytes once, so the first call belongs into a thread.
    """
    digest = hashlib.sha256()
    for name in LIBRARIES:
        digest.update(f"{name} {_version(name)}\n".encode())
    for folder in (Path(darkroom_tools.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
                if path.suffix not in LARGE:
                    digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
