"""One product photo becomes the picture set of a shop listing.

    python examples/shop_listing.py PHOTO RESULTS

Makes `main.jpg` (the product alone, centred on a white square, as marketplaces want it), `cutout.png` (with a
transparent background, for your own page), and two detail pictures with a discreet watermark.
"""

from pathlib import Path

from session import PHOTOS, darkroom, start

SIDE = 1200
DETAILS = {"detail-left": 10, "detail-right": 45}
"""Name and left edge of each detail, in percent of the photo's width."""


async def main(photo: Path, results: Path) -> None:
    """Make the set."""
    async with darkroom(photo, results) as call:
        cut = await call("remove_background", image=str(photo))
        print(f"Cut out with {cut.get('method', 'a model')}.")
        await call.save(cut, results / "cutout")

        square = {"width": SIDE, "height": SIDE, "fit": "contain"}
        steps = [
            {"tool": "resize", "settings": square},
            {"tool": "convert", "settings": {"format": "jpeg", "quality": 90}},
        ]
        main_picture = await call("run_pipeline", steps=steps, images=[cut["image"]])
        await call.save(main_picture, results / "main")

        for name, left in DETAILS.items():
            box = {"left": left, "top": 25, "width": 45, "height": 60, "unit": "percent"}
            mark = {"text": "My Shop", "fontSize": 22, "color": "#FFFFFF", "position": "bottom-right"}
            steps = [
                {"tool": "crop", "settings": box},
                {"tool": "resize", "settings": {"width": SIDE // 2}},
                {"tool": "watermark-text", "settings": mark},
                {"tool": "convert", "settings": {"format": "jpeg", "quality": 85}},
            ]
            await call.save(await call("run_pipeline", steps=steps, images=[str(photo)]), results / name)


if __name__ == "__main__":
    start(main, PHOTOS / "coffee.jpg", __doc__)
