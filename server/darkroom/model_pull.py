"""Pull a model: from its card's addresses in turn to a checked file in the models folder. Only a person starts this."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2

from darkroom.download import (
    NOTE,
    RESERVE_BYTES,
    TIMEOUT,
    DownloadFailed,
    Part,
    Unreachable,
    Watch,
    download,
    is_allowed,
)
from darkroom.engine.model_check import judge
from darkroom.engine.model_store import ModelFile, Trust, adopt_model, installed_models, verify_file
from darkroom.errors import FetchFailed, UrlNotAllowed
from darkroom_tools.errors import ModelInvalid
from darkroom_tools.models import Card

__all__ = ["Mirror", "drop_part", "open_client", "part_bytes", "parts_of", "pull"]

PART: Final = ".pull-"
AGENT: Final = {"User-Agent": "darkroom"}


@dataclass(frozen=True, slots=True)
class Mirror:
    """Another place for a card's file than its own sources.

    Attributes:
        address: Of the file, or of a folder with the file in it if it ends in `/`. HTTPS, or HTTP on this machine.
    """

    address: str

    def source(self, card: Card) -> str:
        """The address of the card's file.

        Raises:
            UrlNotAllowed: Files are not taken from there.
        """
        url = f"{self.address}{card.file}" if self.address.endswith("/") else self.address
        with contextlib.suppress(httpx2.InvalidURL):
            if is_allowed(httpx2.URL(url), loopback=True):
                return url
        raise UrlNotAllowed("Models are pulled over https only, or over http from this machine. Give such an address.")


def open_client() -> httpx2.Client:
    """A client for pulls; it obeys HTTPS_PROXY and the like."""
    # Only this machine is asked over HTTP, and never through a proxy.
    direct = httpx2.HTTPTransport(verify=False)
    return httpx2.Client(timeout=TIMEOUT, headers=AGENT, mounts={"http://": direct})


def pull(
    client: httpx2.Client,
    models_dir: Path,
    card: Card,
    *,
    mirror: Mirror | None = None,
    loopback: bool = False,
    reserve_bytes: int = RESERVE_BYTES,
    say: Callable[[str], None] = lambda _text: None,
    watch: Watch = lambda _done, _total: None,
) -> ModelFile:
    """Download a model, check it and install it; what is installed stays until the new file is good.

    Args:
        client: From `open_client`.
        models_dir: The folder; made if it is missing.
        card: Of the model.
        mirror: Take it from there only.
        loopback: The card's sources may be on this machine, over HTTP.
        reserve_bytes: Disk space to leave free.
        say: Hears from where the file comes, and why a source was given up.
        watch: Hears how many bytes are there.

    Raises:
        FetchFailed: No source has the file, or none can be reached; a part of it is kept for the next try.
        ModelInvalid: What the sources gave is not the model; it is removed.
        StorageFull: There is no room for the file.
        Conflict: Another process is pulling it.
        UrlNotAllowed: The mirror's address is not allowed.
    """
    sources = [mirror.source(card)] if mirror is not None else card.sources
    loopback = loopback or mirror is not None
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    failed: list[tuple[str, Exception]] = []
    with Part(_part(models_dir, card.id)) as part:
        for source in sources:
            if failed:
                say(_reason(*failed[-1]))
            host = urlsplit(source).netloc
            say(f"from {host}")
            try:
                download(
                    client,
                    source,
                    part,
                    size=card.bytes,
                    loopback=loopback,
                    reserve_bytes=reserve_bytes,
                    watch=watch,
                )
                return _install(models_dir, card, part, source)
            except (DownloadFailed, ModelInvalid) as error:
                failed.append((host, error))
    raise _failure(card, failed)


def parts_of(models_dir: Path) -> dict[str, int]:
    """Unfinished downloads: for each model how many bytes are there."""
    parts = {path.name.removeprefix(PART): path for path in models_dir.glob(f"{PART}*") if not path.name.endswith(NOTE)}
    return {model: path.stat().st_size for model, path in sorted(parts.items())}


def part_bytes(models_dir: Path, model: str) -> int:
    """How much of an unfinished download is there."""
    return parts_of(models_dir).get(model, 0)


def drop_part(models_dir: Path, model: str) -> bool:
    """Delete an unfinished download; whether there was one."""
    if not part_bytes(models_dir, model):
        return False
    with Part(_part(models_dir, model)) as part:
        part.cut()
    return True


def _part(models_dir: Path, model: str) -> Path:
    return models_dir / f"{PART}{model}"


def _install(models_dir: Path, card: Card, part: Part, source: str) -> ModelFile:
    before = installed_models(models_dir).get(card.id)

    def check(path: Path) -> Trust:
        trust = judge(card, path)
        if trust == "first-use" and before is not None and before.source:
            _check_same(path, before)
        return trust

    try:
        return adopt_model(models_dir, card.id, part.path, source=source, judge=check)
    except ModelInvalid:
        part.cut()
        raise


def _check_same(path: Path, before: ModelFile) -> None:
    """Refuse another file than the first pull brought, where its digest is all that is known.

    Raises:
        ModelInvalid: It is another one.
    """
    try:
        verify_file(path, before.sha256, before.id)
    except ModelInvalid as error:
        raise ModelInvalid(
            f"The file is not the one that was pulled on {before.added[:10]}, whose SHA-256 is {before.sha256}. If its "
            f"publisher has replaced it, accept the new one: darkroom models remove {before.id}, then pull it again.",
            model=before.id,
        ) from error


def _reason(host: str, error: Exception) -> str:
    return f"{host}: {error.message}" if isinstance(error, ModelInvalid) else f"{host} {error}"


def _failure(card: Card, failed: Sequence[tuple[str, Exception]]) -> FetchFailed | ModelInvalid:
    if not failed:
        return FetchFailed(
            f"The model {card.id!r} has no address to pull it from. Get {card.file} and hand it in: "
            f"darkroom models import {card.id} FILE.",
            model=card.id,
        )
    for _, error in failed:
        if isinstance(error, ModelInvalid):
            return error
    offline = all(isinstance(error, Unreachable) for _, error in failed)
    reasons = "; ".join(_reason(*each) for each in failed)
    fix = "Check the network, and HTTPS_PROXY if there is a proxy" if offline else "Try again later"
    return FetchFailed(
        f"The model {card.id!r} was not pulled: {reasons}. {fix}, or get {card.file} elsewhere and hand it in: "
        f"darkroom models import {card.id} FILE.",
        model=card.id,
    )
