"""llms.txt and llms-full.txt are the lock file of every schema: a change shows in them, or fails here."""

from pathlib import Path

from darkroom.docs import stale_files
from darkroom.web import all_pages, api_document

ROOT = Path(__file__).parents[2]


def test_the_generated_files_say_what_the_schemas_say() -> None:
    assert [path.name for path in stale_files(ROOT, all_pages(), api_document())] == [], "run `make docs`"
