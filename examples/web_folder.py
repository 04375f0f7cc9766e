"""A folder of photos becomes a folder of web pictures, with a report of what was saved.

    python examples/web_folder.py FOLDER RESULTS

One call for all pictures: each is scaled down to at most 1600 pixels and written in the smallest of the usual
formats. A picture that cannot be read does not stop the others.
"""

from pathlib import Path

from session import PHOTOS, darkroom, pictures, start

SETTINGS = {"maxWidthPx": 1600, "maxHeightPx": 1600, "quality": 75}


async def main(folder: Path, results: Path) -> None:
    """Optimise the folder."""
    files = pictures(folder)
    async with darkroom(folder, results) as call:
        steps = [{"tool": "optimize-for-web", "settings": SETTINGS}]
        paths = [str(path) for path in files]
        done = await call("run_pipeline", steps=steps, images=paths)
        items = done.get("items", [done])  # one picture is answered without a list
        while "next" in done:  # large batches come in pages
            done = await call("get_job", job=done["job"], offset=len(items))
            items += done["items"]

        before = after = 0
        for path, item in zip(files, items, strict=True):
            if "error" in item:
                print(f"{path.name}: {item['error']['error']}")
                continue
            saved = await call.save(item, results / path.stem)
            before, after = before + path.stat().st_size, after + saved.stat().st_size
        share = 1 - after / before if before else 0
        print(f"{before:,} bytes before, {after:,} after: {share:.0%} saved")


if __name__ == "__main__":
    start(main, PHOTOS, __doc__)
