"""What is here, what is missing, and the exact fix: what `darkroom doctor` finds out."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from darkroom import __version__
from darkroom.client import Client, Refused
from darkroom.engine.model_check import check_file
from darkroom.engine.model_registry import AI_COMMAND, Entry, all_entries, runtime_version
from darkroom.lock import running_pid
from darkroom.model_pull import parts_of
from darkroom.paths import DataDir
from darkroom_tools.errors import DarkroomError
from darkroom_tools.models import missing

__all__ = ["Finding", "examine"]

TRY_SANDBOX = """
import contextlib, json, sys
with contextlib.suppress(ImportError, RuntimeError, OSError):
    import pyseccomp  # needs files that are closed later
from darkroom.engine.limits import Limits
from darkroom.engine.sandbox import confine, readable_paths
done = confine(read=readable_paths(), write=[], limits=Limits())
json.dump([done.level, *done.missing], sys.stdout)
"""
TRY_DEVICES = """
import json, os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
from darkroom.engine.devices import choose_device
from darkroom.engine.gpu import present_gpu
found = choose_device(gpu=present_gpu())
json.dump({"device": found.device.name, "tried": dict(found.tried), "unused": found.unused}, sys.stdout)
"""
GPU_COMMAND = "uv tool install 'darkroom-mcp[gpu]' (in a checkout: uv sync --no-dev --extra gpu)"
OF_NO_INTEREST = ("works", "not part of this build of ONNX Runtime", "not wanted")


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


def examine(where: DataDir) -> Iterator[Finding]:
    """Look at everything, one after the other; what cannot go on ends it."""
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
    yield from _runtime()
    yield from _models(where)
    if pid:
        yield _engine(where)


def _runtime() -> Iterator[Finding]:
    version = runtime_version()
    if version is None:
        yield Finding(
            "ONNX Runtime", "not installed; tools use their defaults without models", f"For models: {AI_COMMAND}"
        )
        return
    done = subprocess.run([sys.executable, "-c", TRY_DEVICES], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        yield Finding("ONNX Runtime", f"{version}, but it does not load here", f"Reinstall: {AI_COMMAND}")
        return
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    reasons = [f"{name} is {why}" for name, why in found["tried"].items() if why not in OF_NO_INTEREST]
    yield Finding("ONNX Runtime", "; ".join([f"{version}, models run on {found['device']}", *reasons]))
    if found["unused"]:
        fix = (
            GPU_COMMAND
            if OF_NO_INTEREST[1] in found["unused"]
            else f"Check the driver with nvidia-smi, then: {GPU_COMMAND}"
        )
        yield Finding("GPU", found["unused"].removesuffix(" See `darkroom doctor`."), fix)


def _models(where: DataDir) -> Iterator[Finding]:
    try:
        entries = all_entries(where.models, ())
    except DarkroomError as error:
        yield Finding("models", "the list of installed models is damaged", error.message)
        return
    installed = [entry for entry in entries if entry.file is not None]
    problems = {entry.id: problem for entry in installed if (problem := _problem(entry)) is not None}
    good = [entry.id for entry in installed if entry.id not in problems]
    packaged = sum(entry.state == "packaged" for entry in entries)
    facts = [f"{', '.join(good)} verified" if good else "none that is good" if installed else "none installed"]
    facts += [f"{packaged} in packages"] if packaged else []
    yield Finding("models", "; ".join(facts), None if installed else "See which would help: darkroom models pull")
    for model, problem in problems.items():
        yield Finding(f"model {model}", "its file is not the one it should be", problem)
    for model, size in parts_of(where.models).items():
        fix = f"Go on with darkroom models pull {model}, or drop it with darkroom models remove {model}"
        yield Finding(f"model {model}", f"{size / 1e6:,.0f} MB of it were pulled, then it broke off", fix)


def _problem(entry: Entry) -> str | None:
    assert entry.file is not None  # noqa: S101 - only what is installed is asked
    try:
        check_file(entry.card, entry.file)
    except DarkroomError as error:
        command = str(missing(entry.id).details["command"])
        return error.message if command in error.message else f"{error.message} Install it again: {command}"
    return None


def _engine(where: DataDir) -> Finding:
    """What the running server's models do now."""
    try:
        with Client(where.root, [], start=False) as client:
            said: Mapping[str, Any] = client.call("list_models", {})["engine"]
    except (OSError, Refused, KeyError):
        return Finding("model engine", "the server does not tell; it is another version, or it serves one client only")
    if not said.get("device"):
        return Finding("model engine", "no model has run yet, or none for a while")
    told = {"memoryBytes": 0, "budgetBytes": 0, "vram": {}, **said}
    facts = [
        f"on {said['device']}",
        f"{said.get('sessions', 0)} loaded, {_mib(told['memoryBytes'])} of {_mib(told['budgetBytes'])}",
    ]
    if told["vram"]:
        facts.append(f"GPU memory {_mib(told['vram']['usedBytes'])} of {_mib(told['vram']['totalBytes'])}")
    facts += [
        f"{name} {said[name]:,}" for name in ("requests", "batches", "queued", "running", "loads") if name in said
    ]
    facts += [f"{name} {said[name]:,}" for name in ("evictions", "refused", "crashes") if said.get(name)]
    return Finding("model engine", ", ".join(facts))


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _sandbox() -> Finding:
    """Try the real thing in a process that ends with it."""
    done = subprocess.run([sys.executable, "-c", TRY_SANDBOX], capture_output=True, text=True, check=False)  # noqa: S603
    level, *lacks = json.loads(done.stdout) if done.returncode == 0 else ("none", "it could not be tried")
    fix = f"Pictures are processed all the same, less isolated: {'; '.join(lacks)}."
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
