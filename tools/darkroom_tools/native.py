"""pyvips and NumPy, loaded at first use.

The server reads the settings and words of every tool, but must never load a codec: only pixel workers touch
pixels. So tool modules and the kit take their native libraries from here, and importing them stays free.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["np", "pyvips"]

if TYPE_CHECKING:
    import numpy as np
    import pyvips
else:

    class _Late(ModuleType):
        def __getattr__(self, name: str) -> Any:
            value = getattr(importlib.import_module(self.__name__), name)
            setattr(self, name, value)
            return value

    np = _Late("numpy")
    pyvips = _Late("pyvips")
