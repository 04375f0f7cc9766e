"""The model files of this machine: a folder with a manifest that names every file and its SHA-256.

`manifest.json` is `{id: {"file", "sha256", "bytes", "added", "trust", "source"}}`; those of older versions lack the last
two. A file gets into the folder by `import_model` and `adopt_model` only, and is verified before every load, so what
runs is what was accepted once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, get_args

from darkroom.engine.onnx_file import MAX_MODEL_BYTES, check_onnx
from darkroom_tools.errors import InvalidSettings, ModelInvalid
from darkroom_tools.models import missing

__all__ = [
    "MANIFEST",
    "ModelFile",
    "Trust",
    "adopt_model",
    "import_model",
    "installed_models",
    "remove_model",
    "verify_file",
    "verify_model",
]

MANIFEST: Final = "manifest.json"
SCRATCH: Final = ".import-"
CHUNK: Final = 1024 * 1024
LONGEST_ID: Final = 40

Trust = Literal["sha256", "md5", "first-use"]
"""Why a file is believed to be the model: a digest that its publisher pins, or only that it came first."""

Judge = Callable[[Path], Trust]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An installed model.

    Attributes:
        id: What tools call it, such as `u2net`.
        path: The ONNX file inside the models folder.
        sha256: Digest of its bytes, hexadecimal.
        bytes: Its size.
        added: When it came, ISO 8601 in UTC.
        trust: Why it is believed to be the model.
        source: Address it was pulled from; empty where it was imported.
    """

    id: str
    path: Path
    sha256: str
    bytes: int
    added: str
    trust: Trust = "first-use"
    source: str = ""


def installed_models(models_dir: Path) -> dict[str, ModelFile]:
    """All models of the manifest by id, in alphabetical order; empty where nothing was imported yet.

    Raises:
        ModelInvalid: The manifest is damaged.
    """
    try:
        entries = json.loads((models_dir / MANIFEST).read_text("utf-8"))
        return {model: _entry(models_dir, model, entry) for model, entry in sorted(entries.items())}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelInvalid(
            "The list of installed models is damaged. Remove manifest.json from the models folder and import the "
            "models again."
        ) from error


def import_model(models_dir: Path, model: str, source: Path, *, judge: Judge | None = None) -> ModelFile:
    """Copy a model file into the folder under an id; the id's former file is replaced.

    The copy is checked, durable on disk and listed when this returns; after a failure nothing has changed.

    Args:
        models_dir: The folder; made if it is missing.
        model: 1 to 40 characters of a-z, 0-9, `_`, `-` and single dots inside.
        source: A self-contained ONNX file.
        judge: Says of the copy why it is believed to be the model, or raises ModelInvalid.

    Raises:
        InvalidSettings: The id is malformed.
        ModelInvalid: The file cannot be read, is no complete ONNX model, or needs other files or a custom library.
    """
    _check_id(model)
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(models_dir), _scratch(models_dir) as (copy, path):
        digest = _copy(source, copy)
        return _list(models_dir, model, path, digest, judge)


def adopt_model(models_dir: Path, model: str, path: Path, *, source: str, judge: Judge | None = None) -> ModelFile:
    """Take a file that lies in the folder already, as a download does, for a model; as `import_model` otherwise.

    Args:
        models_dir: The folder.
        model: Its id.
        path: The file, which is renamed; it stays where it was if it is refused.
        source: Address that it came from.
        judge: As for `import_model`.

    Raises:
        InvalidSettings: The id is malformed.
        ModelInvalid: The file is refused.
    """
    _check_id(model)
    with _locked(models_dir):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        return _list(models_dir, model, path, digest, judge, source)


def remove_model(models_dir: Path, model: str) -> None:
    """Delete a model's file and its entry.

    Raises:
        ModelNotInstalled: There is no such model.
    """
    if model not in installed_models(models_dir):
        raise missing(model)
    with _locked(models_dir):
        before = installed_models(models_dir)
        _replace_manifest(models_dir, before, {name: file for name, file in before.items() if name != model})


def verify_model(models_dir: Path, model: str) -> ModelFile:
    """Check that a model's file is the one that was imported.

    Raises:
        ModelNotInstalled: There is no such model.
        ModelInvalid: The file is gone, was changed or is cut short.
    """
    found = installed_models(models_dir).get(model)
    if found is None:
        raise missing(model)
    verify_file(found.path, found.sha256, model)
    return found


def verify_file(path: Path, sha256: str, model: str) -> None:
    """Check a file's bytes against a digest, and that ONNX Runtime may open it.

    Raises:
        ModelInvalid: Other bytes than expected, or no acceptable ONNX file.
    """
    try:
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        same = False
    if not same:
        command = str(missing(model).details["command"])
        raise ModelInvalid(
            f"The file of the model {model!r} is gone or was changed since it was installed. Install it again with "
            f"`{command}`.",
            model=model,
            command=command,
        )
    check_onnx(path)


def _check_id(model: str) -> None:
    if len(model) > LONGEST_ID or not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", model):
        allowed = f"1 to {LONGEST_ID} characters of a-z, 0-9, '_', '-' and single dots inside"
        raise InvalidSettings(f"A model id has {allowed}.", field="id", got=model[:80])


def _list(models_dir: Path, model: str, path: Path, digest: str, judge: Judge | None, source: str = "") -> ModelFile:
    """Check a file of the folder, give it its name and list it."""
    trust = judge(path) if judge is not None else "first-use"
    check_onnx(path)
    before = installed_models(models_dir)
    file = models_dir / f"{model}-{digest[:16]}.onnx"
    path.replace(file)
    _sync_folder(models_dir)
    added = datetime.now(UTC).isoformat(timespec="seconds")
    found = ModelFile(model, file, digest, file.stat().st_size, added, trust, source)
    _replace_manifest(models_dir, before, {**before, model: found})
    return found


def _entry(models_dir: Path, model: str, entry: Mapping[str, Any]) -> ModelFile:
    name, digest = str(entry["file"]), str(entry["sha256"])
    if Path(name).name != name or name.startswith(".") or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"bad entry of {model!r}")
    trust = entry.get("trust", "first-use")
    if trust not in get_args(Trust):
        raise ValueError(f"bad trust of {model!r}")
    source = str(entry.get("source", ""))
    return ModelFile(model, models_dir / name, digest, int(entry["bytes"]), str(entry["added"]), trust, source)


@contextlib.contextmanager
def _locked(models_dir: Path) -> Iterator[None]:
    """One importing or removing process at a time; the lock goes with the process."""
    with (models_dir / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left_by_a_kill in models_dir.glob(f"{SCRATCH}*"):
            left_by_a_kill.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def _scratch(models_dir: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file in the folder that is gone afterwards unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=models_dir, prefix=SCRATCH, delete=False) as file:
        path = Path(file.name)
        try:
            yield file, path
        finally:
            path.unlink(missing_ok=True)


def _copy(source: Path, target: IO[bytes]) -> str:
    digest, total = hashlib.sha256(), 0
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK):
                total += len(chunk)
                if total > MAX_MODEL_BYTES:
                    raise ModelInvalid("The file is over 2 GiB. Give a model whose weights fit into one ONNX file.")
                digest.update(chunk)
                target.write(chunk)
    except OSError as error:
        raise ModelInvalid("The file could not be read or copied. Check its name and the free disk space.") from error
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()


def _replace_manifest(models_dir: Path, before: Mapping[str, ModelFile], after: Mapping[str, ModelFile]) -> None:
    """Write the manifest in one step, then drop the files that only the former one named."""
    entries = {
        model.id: {
            "file": model.path.name,
            **{name: getattr(model, name) for name in ("sha256", "bytes", "added", "trust", "source")},
        }
        for model in after.values()
    }
    with _scratch(models_dir) as (file, path):
        file.write(json.dumps(entries, indent=2, sort_keys=True).encode())
        file.flush()
        os.fsync(file.fileno())
        path.replace(models_dir / MANIFEST)
        _sync_folder(models_dir)
    for dropped in {model.path for model in before.values()} - {model.path for model in after.values()}:
        dropped.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
