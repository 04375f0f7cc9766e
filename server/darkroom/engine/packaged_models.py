"""The model files that lie inside installed packages: found and hashed, without loading the packages."""

import functools
import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from darkroom.engine.model_store import ModelFile
from darkroom_tools.models import Card, cards

__all__ = ["packaged_models", "packaged_path"]

log = logging.getLogger(__name__)


def packaged_models() -> Mapping[str, ModelFile]:
    """The models that came with a package, by id; a file that is not the one of its card is left out."""
    return _found(tuple(card for card in cards().values() if card.packaged is not None))


def packaged_path(card: Card) -> Path | None:
    """Where a card's file lies inside an installed package; None if it does not."""
    package, _, inside = (card.packaged or "").partition("/")
    spec = importlib.util.find_spec(package) if package else None
    places = (spec.submodule_search_locations if spec is not None else None) or ()
    return next((file for place in places if (file := Path(place) / inside).is_file()), None)


@functools.cache
def _found(known: tuple[Card, ...]) -> Mapping[str, ModelFile]:
    return MappingProxyType({card.id: file for card in known if (file := _file(card)) is not None})


def _file(card: Card) -> ModelFile | None:
    path = packaged_path(card)
    if path is None:
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if card.sha256 not in (None, digest):
        log.error("the file of the model %s in package %s is not the one of its card", card.id, card.packaged)
        return None
    return ModelFile(id=card.id, path=path, sha256=digest, bytes=path.stat().st_size, added="")
