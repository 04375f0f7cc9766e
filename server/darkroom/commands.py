"""The subcommands that look after an installation: models, docs, doctor."""

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from darkroom import __version__
from darkroom.engine import model_store
from darkroom.lock import running_pid
from darkroom.paths import DataDir, data_dir
from darkroom_tools.errors import DarkroomError

__all__ = ["docs", "doctor", "models"]

TRY_SANDBOX = """
import contextlib
with contextlib.suppress(ImportError, RuntimeError, OSError):
    import pyseccomp  # needs files that are closed later
from darkroom.engine.limits import Limits
from darkroom.engine.sandbox import confine, readable_paths
done = confine(read=readable_paths(), write=[], limits=Limits())
print(done.level, *done.missing, sep="\\n")
"""
AI_COMMAND = "uv tool install 'darkroom-mcp[ai]' (in a checkout: uv sync --extra ai)"


def models(chosen_data_dir: str | None, action: str, identifier: str | None, file: Path | None) -> int:
    """List, import, verify or remove model files; the exit status."""
    folder = data_dir(chosen_data_dir).models
    try:
        if action == "import":
            if identifier is None or file is None:
                return _fail("Give an id and a file: darkroom models import u2net u2net.onnx")
            done = model_store.import_model(folder, identifier, file)
            sys.stdout.write(f"{done.id}  {done.bytes:,} bytes  sha256 {done.sha256}\n")
        elif action == "remove" and identifier is not None:
            model_store.remove_model(folder, identifier)
            sys.stdout.write(f"{identifier} is removed.\n")
        elif action == "verify":
            for name in [identifier] if identifier else model_store.installed_models(folder):
                model_store.verify_model(folder, name)
                sys.stdout.write(f"{name}  ok\n")
        elif action == "list":
            installed = model_store.installed_models(folder)
            if not installed:
                sys.stderr.write("No model is installed; `darkroom models import ID FILE` takes one in.\n")
            for found in installed.values():
                sys.stdout.write(f"{found.id}  {found.bytes:,} bytes  sha256 {found.sha256}  added {found.added}\n")
        else:
            return _fail("Give the id of a model; `darkroom models` lists them.")
    except DarkroomError as error:
        return _fail(error.message)
    return 0


def docs(*, check: bool) -> int:
    """Write the generated documentation into the working directory, or say what is stale; the exit status."""
    from darkroom.docs import stale_files, write_files
    from darkroom.serve import all_pages

    if check:
        stale = stale_files(Path.cwd(), all_pages())
        return _fail(f"Stale: {', '.join(path.name for path in stale)}. Run `darkroom docs`.") if stale else 0
    for path in write_files(Path.cwd(), all_pages()):
        sys.stdout.write(f"wrote {path.name}\n")
    return 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor.

    Attributes:
        subject: What was looked at.
        fact: What was found.
        fix: What to do about it; None if all is well.
        broken: Whether nothing works without the fix.
    """

    subject: str
    fact: str
    fix: str | None = None
    broken: bool = False


def doctor(chosen_data_dir: str | None) -> int:
    """Print what is here and what is missing with the exact fix; the exit status is 1 if nothing can work."""
    findings = list(_examine(data_dir(chosen_data_dir)))
    for finding in findings:
        mark = "✗" if finding.broken else "!" if finding.fix else "✓"
        sys.stdout.write(f"{mark} {finding.subject}: {finding.fact}\n")
        if finding.fix:
            sys.stdout.write(f"    {finding.fix}\n")
    return int(any(finding.broken for finding in findings))


def _examine(where: DataDir) -> Iterator[Finding]:
    yield Finding("Darkroom", f"{__version__} on Python {platform.python_version()}, {platform.system()}")
    try:
        where.create()
        free = shutil.disk_usage(where.root).free
        fix = "Free some space: below 512 MB nothing is accepted." if free < 2**30 else None
        yield Finding("data directory", f"{where.root}, {free / 2**30:.1f} GiB free", fix)
    except OSError as error:
        yield Finding(
            "data directory", f"{where.root}: {error.strerror}", "Choose another with --data-dir DIR.", broken=True
        )
        return
    pid = running_pid(where)
    yield Finding("server", f"process {pid} runs" if pid else "none runs; `darkroom mcp` starts one when needed")
    yield _imaging()
    yield _documents()
    yield _sandbox()
    has_runtime = importlib.util.find_spec("onnxruntime") is not None
    yield Finding(
        "ONNX Runtime",
        "installed" if has_runtime else "not installed; tools use their defaults without models",
        None if has_runtime else f"For models: {AI_COMMAND}",
    )
    installed = ", ".join(model_store.installed_models(where.models))
    yield Finding(
        "models", installed or "none", None if installed else "For finer cut-outs: darkroom models import u2net FILE"
    )


def _sandbox() -> Finding:
    """Try the real thing in a process that ends with it."""
    done = subprocess.run([sys.executable, "-c", TRY_SANDBOX], capture_output=True, text=True, check=False)  # noqa: S603
    level, *missing = done.stdout.split("\n") if done.returncode == 0 else ("none", "it could not be tried")
    fix = f"Pictures are processed all the same, less isolated: {'; '.join(filter(None, missing))}."
    return Finding("sandbox", level, None if level == "full" else fix)


def _imaging() -> Finding:
    try:
        import pyvips

        version = ".".join(str(pyvips.version(n)) for n in range(3))
        return Finding("libvips", version)
    except (ImportError, OSError) as error:
        fix = "Reinstall: uv tool install --reinstall darkroom-mcp"
        return Finding("libvips", f"cannot be loaded: {error}", fix, broken=True)


def _documents() -> Finding:
    try:
        import pypdfium2
        import pyvips

        svg = "SVG is drawn" if pyvips.type_find("VipsOperation", "svgload_buffer") else "no SVG in this libvips"
        return Finding("SVG and PDF", f"{svg}; PDFium {pypdfium2.PDFIUM_INFO.build}")
    except (ImportError, OSError) as error:
        return Finding("SVG and PDF", f"cannot be read: {error}", "Reinstall: uv tool install --reinstall darkroom-mcp")


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
