"""The subcommands that look after an installation: docs, doctor."""

import shutil
import sys
import textwrap
from pathlib import Path

from darkroom.doctor import examine
from darkroom.paths import data_dir

__all__ = ["docs", "doctor"]


def docs(*, check: bool) -> int:
    """Write the generated documentation into the working directory, or say what is stale; the exit status."""
    from darkroom.docs import stale_files, write_files
    from darkroom.web import all_pages, api_document

    if check:
        stale = stale_files(Path.cwd(), all_pages(), api_document())
        return _fail(f"Stale: {', '.join(path.name for path in stale)}. Run `darkroom docs`.") if stale else 0
    for path in write_files(Path.cwd(), all_pages(), api_document()):
        sys.stdout.write(f"wrote {path.name}\n")
    return 0


def doctor(chosen_data_dir: str | None) -> int:
    """Print what is here and what is missing with the exact fix; the exit status is 1 if nothing can work."""
    findings = list(examine(data_dir(chosen_data_dir)))
    for finding in findings:
        mark = "✗" if finding.broken else "!" if finding.fix else "✓"
        _print(f"{mark} {finding.subject}: {finding.fact}")
        if finding.fix:
            _print(f"    {finding.fix}")
    return int(any(finding.broken for finding in findings))


def _print(line: str) -> None:
    """A line that on a terminal is broken where it suits the reader; programs get it whole."""
    columns = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and len(line) > columns:
        line = textwrap.fill(line, columns, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    sys.stdout.write(f"{line}\n")


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
