"""One photo in the sizes of all social platforms, as one ZIP.

    python examples/social_kit.py PHOTO RESULTS

Every preset that Darkroom knows fills its frame; what stands out at the edges is cut off. The ZIP holds files such
as `instagram-story-reel.jpg`.
"""

import re
from pathlib import Path

from mcp_types import PromptReference
from session import PHOTOS, darkroom, start


async def main(photo: Path, results: Path) -> None:
    """Make the kit."""
    kit = results / "kit"
    async with darkroom(photo, results) as call:
        wanted = {"name": "preset", "value": ""}
        known = (await call.client.complete(PromptReference(name="social_post"), wanted)).completion.values
        kit.mkdir(exist_ok=True)
        files = []
        for preset in known:
            sized = await call("resize", image=str(photo), preset=preset)
            name = re.sub(r"[^a-z0-9]+", "-", preset.lower()).strip("-")
            files.append(str(await call.save(sized, kit / name)))
        packed = await call("bulk_rename", files=files, pattern="{original}")
        await call.save(packed, results / "social-kit")
        print(f"{len(files)} sizes of {photo.name}")


if __name__ == "__main__":
    start(main, PHOTOS / "dahlia.jpg", __doc__)
