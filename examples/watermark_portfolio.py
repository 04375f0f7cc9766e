"""A folder of photos, watermarked for handing out, as one ZIP.

    python examples/watermark_portfolio.py FOLDER RESULTS

One call scales every photo to at most 2048 pixels, writes the name over it in a tiled pattern and into the corner,
and answers with a ZIP. `_report.json` in it says which source became which file, and what failed.
"""

from pathlib import Path

from session import PHOTOS, darkroom, pictures, start

MARK = {"text": "© Ada Example", "color": "#FFFFFF"}
STEPS = [
    {"tool": "resize", "settings": {"width": 2048, "height": 2048, "fit": "inside", "withoutEnlargement": True}},
    {"tool": "watermark-text", "settings": {**MARK, "position": "tiled", "opacity": 12, "fontSize": 40}},
    {"tool": "watermark-text", "settings": {**MARK, "position": "bottom-right", "opacity": 80, "fontSize": 18}},
    {"tool": "convert", "settings": {"format": "jpeg", "quality": 85}},
]


async def main(folder: Path, results: Path) -> None:
    """Make the portfolio."""
    files = [str(path) for path in pictures(folder)]
    async with darkroom(folder, results) as call:
        done = await call("run_pipeline", steps=STEPS, images=files, zip=True)
        packed = done["zip"]
        await call.save(packed, results / "portfolio")
        print(f"{packed['fileCount']} of {len(files)} photos, {packed['failed']} failed")


if __name__ == "__main__":
    start(main, PHOTOS, __doc__)
