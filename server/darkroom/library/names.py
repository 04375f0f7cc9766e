"""File names for people: of results, and of downloads."""

from urllib.parse import quote

from darkroom_tools.kit.clean import clean_name

__all__ = ["content_disposition", "rendition_name", "result_name"]


def result_name(source: str, tool: str, extension: str) -> str:
    """The name of what `tool` (kebab-case) made of the file `source`: `photo-resize.webp`; clean, at most 200 bytes."""
    stem = source.rpartition(".")[0] or source
    if stem != tool and not stem.endswith(f"-{tool}"):
        stem = f"{stem}-{tool}" if stem else tool
    return clean_name(f"{stem}.{extension}")


def rendition_name(name: str, extension: str) -> str:
    """The name of a file that is served in another format than it is stored in: `photo.jpg` for `photo.png`."""
    return clean_name(f"{name.rpartition('.')[0] or name}.{extension}")


def content_disposition(name: str, *, inline: bool = False) -> str:
    """The header value after RFC 6266: an ASCII name for old clients, the real one in UTF-8 for all others."""
    name = clean_name(name)
    ascii_name = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
