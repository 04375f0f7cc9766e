"""Named sizes that callers may use instead of numbers."""

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

from darkroom_tools.settings import nearest

__all__ = ["social_preset", "social_presets"]


@functools.cache
def social_presets() -> Mapping[str, tuple[int, int]]:
    """Width and height in pixels of the picture sizes of social platforms, by `Platform/Name`."""
    text = files("darkroom_tools").joinpath("data", "presets.json").read_text(encoding="utf-8")
    platforms: dict[str, dict[str, list[int]]] = json.loads(text)["social"]
    return MappingProxyType(
        {
            f"{platform}/{name}": (width, height)
            for platform, sizes in platforms.items()
            for name, (width, height) in sizes.items()
        }
    )


def social_preset(name: str) -> tuple[int, int]:
    """Width and height of a preset, whatever the case and spacing of `name`.

    Raises:
        ValueError: Unknown; the text holds the nearest name and those of the same platform.
    """
    known = {"".join(preset.casefold().split()): size for preset, size in social_presets().items()}
    found = known.get("".join(name.casefold().split()))
    if found is not None:
        return found
    near = nearest(name, list(social_presets()))
    platform = name.casefold().partition("/")[0].strip()
    same = [preset for preset in social_presets() if platform and preset.casefold().startswith(platform)]
    hint = f" Did you mean {near!r}?" if near else ""
    options = ", ".join(repr(preset) for preset in same or social_presets())
    raise ValueError(f"Unknown preset {name[:80]!r}.{hint} Allowed: {options}.")
