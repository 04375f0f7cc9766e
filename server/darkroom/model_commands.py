"""`darkroom models`: what is known, what is here, and everything that brings, checks and removes model files."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from httpx2 import Client

from darkroom.engine import model_store
from darkroom.engine.model_check import check_file, judge, misfit, recognise
from darkroom.engine.model_registry import AI_COMMAND, Entry, all_entries, runtime_version
from darkroom.engine.model_store import ModelFile
from darkroom.engine.onnx_file import check_onnx
from darkroom.model_pull import Mirror, drop_part, open_client, part_bytes, pull
from darkroom.model_words import TRUSTS, advice, facts_of, table, task_of
from darkroom.paths import data_dir
from darkroom.pull_progress import PullProgress, human_size
from darkroom_tools.errors import DarkroomError, ModelInvalid
from darkroom_tools.models import Card, missing
from darkroom_tools.registry import builtin_tools
from darkroom_tools.settings import nearest

__all__ = ["import_file", "list_models", "path_of", "pull_models", "remove_models", "verify_models"]


def list_models(chosen_data_dir: str | None, names: Sequence[str], *, as_json: bool) -> int:
    """Print all models, or those with these ids, tasks or tools; the exit status."""
    try:
        entries = all_entries(data_dir(chosen_data_dir).models, builtin_tools().values())
    except DarkroomError as error:
        return _fail(error.message)
    wanted = {name.replace("_", "-") for name in names}
    chosen = [
        entry
        for entry in entries
        if not names
        or not wanted.isdisjoint(name.replace("_", "-") for name in (entry.id, task_of(entry), *entry.tools))
    ]
    if names and not chosen:
        return _fail(f"No model, task or tool is called {' or '.join(names)}. `darkroom models` lists them.")
    if as_json:
        sys.stdout.write(json.dumps([facts_of(entry) for entry in chosen], indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(table(chosen)) + "\n")
        _say_what_runs_them()
    return 0


def pull_models(chosen_data_dir: str | None, names: Sequence[str], *, accept_license: bool, mirror: str | None) -> int:
    """Download models, one after the other; the exit status is 1 if one of them is not here afterwards.

    Args:
        chosen_data_dir: As on the command line.
        names: Their ids; without one it is said which there are.
        accept_license: Whether licences that forbid commercial use suit the person.
        mirror: Address to take the files from instead of their cards' sources.
    """
    folder = data_dir(chosen_data_dir).models
    try:
        entries = _entries(folder)
    except DarkroomError as error:
        return _fail(error.message)
    if not names:
        sys.stderr.write("\n".join(advice(list(entries.values()))) + "\n")
        return 2
    chosen = Mirror(mirror) if mirror is not None else None
    good = True
    with open_client() as client:
        for name in dict.fromkeys(names):
            try:
                good &= _pull(client, folder, _known(entries, name), accept_license, chosen)
            except DarkroomError as error:
                _fail(error.message)
                good = False
            except KeyboardInterrupt:
                kept = part_bytes(folder, name)
                rest = f" {human_size(kept)} are kept; the same command goes on from there." if kept else ""
                sys.stderr.write(f"darkroom: {name} is not pulled.{rest}\n")
                return 130
    _say_what_runs_them()
    return int(not good)


def import_file(chosen_data_dir: str | None, words: Sequence[str], *, accept_license: bool) -> int:
    """Take in a model file that the person has, by its id or by what the file is; the exit status."""
    folder = data_dir(chosen_data_dir).models
    if len(words) > 2:
        return _fail("Give one file, with its id before it: darkroom models import u2net u2net.onnx")
    file = Path(words[-1])
    try:
        entries = _entries(folder)
        identifier = words[0] if len(words) == 2 else _recognised(file, entries.values())
        entry = entries.get(identifier)
        card = entry.card if entry is not None else None
        if card is not None:
            _check_license(card, accept_license)
        done = model_store.import_model(
            folder, identifier, file, judge=(lambda path: judge(card, path)) if card is not None else None
        )
        _print_installed(done, card)
    except DarkroomError as error:
        return _fail(error.message)
    return 0


def verify_models(chosen_data_dir: str | None, names: Sequence[str]) -> int:
    """Check files against their digests, all of them without a name; the exit status is 1 if one is bad."""
    good = True
    try:
        entries = _entries(data_dir(chosen_data_dir).models)
        here = [entry.id for entry in entries.values() if entry.state in ("installed", "packaged")]
        if not names and not here:
            sys.stderr.write("No model is installed, so there is nothing to verify.\n")
        for name in dict.fromkeys(names or here):
            good &= _verify(_known(entries, name))
    except DarkroomError as error:
        return _fail(error.message)
    return int(not good)


def remove_models(chosen_data_dir: str | None, names: Sequence[str]) -> int:
    """Delete model files, also those of which only a part was pulled; the exit status."""
    folder = data_dir(chosen_data_dir).models
    good = True
    for name in dict.fromkeys(names):
        try:
            part = drop_part(folder, name) if name in _entries(folder) else False
            if not part or name in model_store.installed_models(folder):
                model_store.remove_model(folder, name)
            sys.stdout.write(f"{name} is removed.\n")
        except DarkroomError as error:
            _fail(error.message)
            good = False
    return int(not good)


def path_of(chosen_data_dir: str | None, name: str | None) -> int:
    """Print the folder of the models, or the file of one; the exit status."""
    folder = data_dir(chosen_data_dir).models
    try:
        if name is None:
            sys.stdout.write(f"{folder}\n")
            return 0
        entry = _known(_entries(folder), name)
        path = entry.file.path if entry.file is not None else entry.packaged
        if path is None:
            return _fail(missing(name).message)
        sys.stdout.write(f"{path}\n")
    except DarkroomError as error:
        return _fail(error.message)
    return 0


def _say_what_runs_them() -> None:
    if runtime_version() is None:
        sys.stderr.write(f"Models run with ONNX Runtime, which is not installed: {AI_COMMAND}\n")


def _entries(folder: Path) -> dict[str, Entry]:
    """All models by id. Their tools are not looked up: that takes a second."""
    return {entry.id: entry for entry in all_entries(folder, ())}


def _known(entries: dict[str, Entry], name: str) -> Entry:
    if name in entries:
        return entries[name]
    alike = nearest(name, list(entries))
    hint = f"Did you mean {alike}? " if alike else ""
    raise ModelInvalid(f"There is no model {name[:40]!r}. {hint}`darkroom models` lists them.")


def _pull(client: Client, folder: Path, entry: Entry, accept_license: bool, mirror: Mirror | None) -> bool:
    card = entry.card
    if card is None or entry.state in ("packaged", "needs-extra"):
        where = "was imported by hand" if card is None else "comes with a package"
        sys.stderr.write(f"{entry.id} {where} and is not pulled.\n")
        if entry.command:
            sys.stderr.write(f"Install it with: {entry.command}\n")
        return entry.command is None
    if _problem(entry) is None:
        sys.stdout.write(f"{entry.id} is installed already, and its file is unchanged.\n")
        return True
    _check_license(card, accept_license)
    progress = PullProgress(entry.id)
    try:
        done = pull(client, folder, card, mirror=mirror, say=progress.say, watch=progress)
    finally:
        progress.clear()
    _print_installed(done, card)
    return True


def _check_license(card: Card, accepted: bool) -> None:
    if card.commercial or accepted:
        return
    raise ModelInvalid(
        f"The model {card.id!r} is under {card.license}, which forbids commercial use. If that suits you, say so with "
        "--accept-license."
    )


def _recognised(file: Path, entries: Iterable[Entry]) -> str:
    known = [entry.card for entry in entries if entry.card is not None and entry.card.packaged is None]
    card = recognise(file, known)
    if card is None:
        raise ModelInvalid(
            "No model here has this file's name or digest. Say which it is: darkroom models import ID FILE; "
            "`darkroom models` lists the ids."
        )
    return card.id


def _print_installed(done: ModelFile, card: Card | None) -> None:
    terms = "" if card is None else f", {card.license}" if card.commercial else f", {card.license} (no commercial use)"
    sys.stdout.write(f"{done.id}  {done.bytes:,} bytes{terms}, sha256 {done.sha256}\n")
    if card is None:
        return
    if done.trust == "first-use":
        sys.stdout.write("  Nobody publishes a digest of it: this one is recorded, and every later use is checked.\n")
    else:
        sys.stdout.write(f"  It has the {TRUSTS[done.trust]} that its publisher pins.\n")
        if problem := misfit(card, done.path):
            sys.stderr.write(f"darkroom: {done.id} may not work: {problem}, which is not what its tools expect.\n")


def _verify(entry: Entry) -> bool:
    problem = _problem(entry)
    sys.stdout.write(f"{entry.id}  {'ok' if problem is None else 'BAD'}\n")
    if problem is not None:
        _fail(problem.message)
    return problem is None


def _problem(entry: Entry) -> DarkroomError | None:
    """What is wrong with a model's file; None if it is here and good."""
    try:
        if entry.file is not None:
            check_file(entry.card, entry.file)
        elif entry.packaged is not None and entry.card is not None:
            check_onnx(entry.packaged)
            judge(entry.card, entry.packaged)
        else:
            return missing(entry.id)
    except DarkroomError as error:
        return error
    return None


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
