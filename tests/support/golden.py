"""Pictures that somebody has looked at and found right."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

FOLDER = Path(__file__).parents[1] / "golden"
MOST_PIXELS = 200 * 200


def compare_with_golden(array: np.ndarray, name: str, tolerance: int, update: bool) -> None:
    """Check pixels against `golden/<name>.png`; each channel may differ by `tolerance` (fonts, other processors)."""
    path = FOLDER / f"{name}.png"
    shown = array[:, :, 0] if array.shape[2] == 1 else array
    assert shown.shape[0] * shown.shape[1] <= MOST_PIXELS, "golden pictures are small"
    if update:
        PIL.Image.fromarray(shown).save(path, optimize=True)
        return
    if not path.exists():
        pytest.fail(f"{path.name} is missing; run with --update-golden, then look at the new picture")
    kept = np.asarray(PIL.Image.open(path))
    assert kept.shape == shown.shape
    worst = int(np.abs(kept.astype(int) - shown.astype(int)).max())
    assert worst <= tolerance, f"{name} differs by {worst}; if that is right, run with --update-golden and look at it"
