"""Photos of paper pages become one clean PDF.

    python examples/scan_to_pdf.py FOLDER RESULTS

Every photo is scaled to A4 at 200 dots an inch, made grey, and given the contrast of a scan; the pages stand in the
order of their names.
"""

from pathlib import Path

from session import PHOTOS, darkroom, pictures, start

A4 = {"width": 1654, "height": 2339, "fit": "inside", "withoutEnlargement": True}
SCAN = {"effects": "grayscale", "brightness": 10, "contrast": 35, "sharpness": 30}
STEPS = [
    {"tool": "resize", "settings": A4},
    {"tool": "color-adjustments", "settings": SCAN},
    {"tool": "convert", "settings": {"format": "jpeg", "quality": 80}},
]


async def main(folder: Path, results: Path) -> None:
    """Make the PDF."""
    async with darkroom(folder, results) as call:
        pages = []
        for path in pictures(folder):
            pages.append((await call("run_pipeline", steps=STEPS, images=[str(path)]))["image"])
        document = await call("image_to_pdf", images=pages, pageSize="A4", margin=18)
        await call.save(document, results / "scan")
        print(f"{len(pages)} pages")


if __name__ == "__main__":
    start(main, PHOTOS, __doc__)
