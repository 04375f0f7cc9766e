"""A folder of photos on one sheet, each with its name below.

    python examples/contact_sheet.py FOLDER RESULTS

Every photo becomes a cell of the same size with a caption; `stitch` lays the cells out in a grid.
"""

import math
from pathlib import Path

from session import PHOTOS, darkroom, pictures, start

CELL = {"width": 480, "height": 360, "fit": "contain"}
CAPTION = {"fontSize": 22, "position": "bottom", "background": "#FFFFFF", "color": "#222222", "shadow": False}
PAPER = "#FFFFFF"


async def main(folder: Path, results: Path) -> None:
    """Make the sheet."""
    async with darkroom(folder, results) as call:
        cells = []
        for path in pictures(folder):
            steps = [
                {"tool": "resize", "settings": CELL},
                {"tool": "text-overlay", "settings": {**CAPTION, "text": path.stem}},
                {"tool": "convert", "settings": {"format": "png"}},
            ]
            cells.append((await call("run_pipeline", steps=steps, images=[str(path)]))["image"])
        columns = max(2, math.ceil(math.sqrt(len(cells))))
        grid = {"direction": "grid", "gridColumns": columns, "gap": 12, "border": 24, "backgroundColor": PAPER}
        sheet = await call("stitch", images=cells, format="jpeg", quality=88, **grid)
        await call.save(sheet, results / "contact-sheet")
        print(f"{len(cells)} photos in {columns} columns")


if __name__ == "__main__":
    start(main, PHOTOS, __doc__)
