"""The gallery: workflows that come with Darkroom, one JSON document each in the folder beside this file.

A document is what `darkroom workflows export` writes, plus facts of the gallery: `slug` (the file's name), `id` (a UUID
that never changes), `group` (a shelf such as fashion) and, for those that stand for a feature of a catalogue that
clients know by its id, `feature` (such as fashion_swap).
"""

import functools
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

__all__ = ["FACTS", "load_gallery", "parse_document"]

FACTS: Final = ("slug", "id", "group", "feature")
"""What a document of the gallery has beside a workflow's own fields."""

REQUIRED: Final = ("format", "formatVersion", "slug", "id", "group", "name", "description", "inputs", "components")
SLUG: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parse_document(slug: str, text: str) -> Mapping[str, Any]:
    """The document in a file's text; what its fields mean is for the reader of workflows to judge.

    Raises:
        ValueError: Naming the file and what is wrong with it.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{slug}: {error}") from error
    missing = [name for name in REQUIRED if name not in document] if isinstance(document, dict) else list(REQUIRED)
    if missing:
        raise ValueError(f"{slug}: a document of the gallery has {', '.join(missing)}")
    if document["slug"] != slug or not SLUG.fullmatch(slug):
        raise ValueError(f"{slug}: its slug is {document['slug']!r}, but the file's name says {slug!r}")
    if not UUID.fullmatch(document["id"]):
        raise ValueError(f"{slug}: its id is no UUID in lower case")
    return MappingProxyType(document)


@functools.cache
def load_gallery(folder: Any = None) -> Mapping[str, Mapping[str, Any]]:
    """The documents of this package, or of a folder, by slug in alphabetical order.

    Raises:
        ValueError: A file is not well formed, or two have one id.
    """
    found = (folder or files(__package__).joinpath("gallery")).iterdir()
    texts = {
        path.name.removesuffix(".json").replace("_", "-"): path.read_text(encoding="utf-8")
        for path in found
        if path.name.endswith(".json")
    }
    documents = {slug: parse_document(slug, texts[slug]) for slug in sorted(texts)}
    ids = [document["id"] for document in documents.values()]
    if len(set(ids)) != len(ids):
        raise ValueError(f"two documents of the gallery have the id {max(ids, key=ids.count)}")
    return MappingProxyType(documents)
