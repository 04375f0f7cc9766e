"""Facts under the names of this dialect."""

from collections.abc import Mapping
from typing import Any

__all__ = ["report_of"]


def report_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a tool as clients of this dialect know it.

    Text from inside a picture is data for them, not words to a model: it goes where it belongs, and no longer apart.
    """
    known = {key: value for key, value in report.items() if key != "untrustedText"}
    texts: Mapping[str, str] = (report.get("untrustedText") or {}).get("fields", {})
    if "barcodes" in known:
        codes = [{**code, "text": texts.get(str(code["index"]), "")} for code in known["barcodes"]]
        return {**known, "barcodes": codes}
    if "blocks" in known:
        text = texts.get("text", "")
        return {
            **known,
            "text": text,
            "blocks": [{**block, "text": text[slice(*block["span"])]} for block in known["blocks"]],
        }
    if "exif" in known:
        exif = {**known["exif"], **texts}
        return {**known, "exif": exif, "size": known["fileSize"], "dpi": known.get("density")}
    return known
