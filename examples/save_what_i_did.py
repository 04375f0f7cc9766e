"""Edit one photo by hand, save what you did, and run it on a whole folder.

    python examples/save_what_i_did.py FOLDER RESULTS

Three single calls on the first photo; `save_workflow` reads the recipe that led to the result and opens the width and
the caption as inputs; `check_workflow` says what will come out before anything is computed; then one call runs it
over all photos.
"""

import zipfile
from pathlib import Path

from session import PHOTOS, darkroom, pictures, start

OPENED = {"width": "resize.width", "caption": "watermark-text.text"}


async def main(folder: Path, results: Path) -> None:
    """Do it once, then everywhere."""
    photos = pictures(folder)
    async with darkroom(folder, results) as call:
        small = await call("resize", image=str(photos[0]), width=640)
        warm = await call("color_adjustments", image=small["image"], temperature=20, contrast=10)
        signed = await call(
            "watermark_text", image=warm["image"], text="Darkroom", fontSize=24, position="bottom-right"
        )

        saved = await call("save_workflow", name="My look", fromImage=signed["image"], inputs=OPENED)
        print(f"Saved as {saved['tool']}")

        inputs = {"width": 480, "caption": "In print"}
        checked = await call("check_workflow", workflow="My look", inputs={"image": small["source"], **inputs})
        print(f"It will be {checked['width']}x{checked['height']} {checked['format']}")

        wanted = {"image": [str(photo) for photo in photos], **inputs}
        batch = await call("run_workflow", workflow="My look", inputs=wanted, zip=True)
        packed = await call.save(batch["zip"], results / "my-look")
        with zipfile.ZipFile(packed) as archive:
            print(*(name for name in archive.namelist() if not name.startswith("_")), sep="\n")


if __name__ == "__main__":
    start(main, PHOTOS, __doc__)
