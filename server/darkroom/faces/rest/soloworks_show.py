"""How workflows and executions look to clients of Solo Works."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, cast

from darkroom.engine.sniff import DOCUMENTS
from darkroom.errors import InsufficientCredits
from darkroom.faces.rest.common import error_of, timestamp, workflow_uuid
from darkroom.faces.rest.soloworks_wire import (
    CreditCost,
    Detail,
    Execution,
    ImageField,
    Option,
    Result,
    State,
    Summary,
    SwitchField,
    TextField,
    Trouble,
)
from darkroom.jobs.record import Job
from darkroom.jobs.record import State as JobState
from darkroom.library.record import ImageRecord
from darkroom.links import Links
from darkroom.store.ids import as_uuid
from darkroom.workflows.described import Field, fields_of, pictures_of
from darkroom.workflows.gallery import GALLERY
from darkroom.workflows.service import Saved
from darkroom_prompts.gallery import load_gallery

__all__ = ["OFF", "ON", "detail_of", "execution_of", "is_switch", "summary_of"]

ON, OFF = "on", "off"
"""The options of what is only yes or no."""

STATES: Final[Mapping[JobState, State]] = {
    "queued": "running",
    "running": "running",
    "in_review": "running",
    "payment_required": "failed",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "failed",
}
ALMOST: Final = 99
"""Percent of what is still under way."""


def summary_of(saved: Saved, span: tuple[int, int]) -> Summary:
    """A workflow in the list."""
    return {
        "id": workflow_uuid(saved),
        "name": saved.name,
        "description": saved.document.description,
        "tags": list(saved.document.tags),
        "creditCost": CreditCost(min=span[0], max=span[1]),
        "previewImage": None,
    }


def detail_of(saved: Saved, span: tuple[int, int]) -> Detail:
    """A workflow with its inputs."""
    pictures, fields = pictures_of(saved), fields_of(saved)
    images: list[ImageField] = [
        {
            "fieldId": each.id,
            "title": each.title,
            "description": each.description,
            "required": each.required,
            "multiple": each.many,
        }
        for each in pictures
    ]
    return {
        **summary_of(saved, span),
        "inputs": {
            "isBatchMode": any(each.many for each in pictures),
            "imageFields": images,
            "textFields": [_text_field(each) for each in fields if not is_switch(each)],
            "switchFields": [_switch_field(each) for each in fields if is_switch(each)],
        },
    }


def is_switch(field: Field) -> bool:
    """Whether a field is set through `switchSelections`."""
    return field.kind in ("switch", "boolean")


def _options(field: Field) -> list[Option]:
    return [Option(optionId=choice.id, label=choice.label) for choice in field.choices]


def _text_field(field: Field) -> TextField:
    shown: dict[str, Any] = {
        "fieldId": field.id,
        "title": field.title,
        "description": field.description,
        "type": field.kind,
        "required": field.required,
        "default": _written(field.default),
        "maxLength": field.max_length,
        "minimum": field.minimum,
        "maximum": field.maximum,
        "presetOptions": _options(field) or None,
    }
    return cast("TextField", {key: value for key, value in shown.items() if value is not None})


def _written(default: Any) -> str | None:
    """A default as a text field holds it."""
    return default if default is None or isinstance(default, str) else json.dumps(default, ensure_ascii=False)


def _switch_field(field: Field) -> SwitchField:
    shown: SwitchField = {
        "switchFieldId": field.id,
        "title": field.title,
        "description": field.description,
        "required": field.required,
        "multiple": field.multiple,
        "options": _options(field) or [Option(optionId=ON, label="On"), Option(optionId=OFF, label="Off")],
    }
    if isinstance(field.default, list):
        shown["default"] = list(field.default)
    elif field.default is not None:
        shown["default"] = [{True: ON, False: OFF}.get(field.default, str(field.default))]
    return shown


def execution_of(job: Job, records: Sequence[ImageRecord], links: Links) -> Execution:
    """How an execution stands; its results once it is completed.

    Args:
        job: The execution.
        records: What it made, in order.
        links: Sign the addresses.
    """
    state = STATES[job.state]
    made = [_result(record, links) for record in records] if state == "completed" else []
    first = next((each for each in made if each["jpgUrl"] is not None), None)
    if state == "completed" and job.result is not None:
        made += [_report(item.report) for item in job.result.items if item.report is not None]
    identifier = as_uuid(job.id)
    return {
        "id": identifier,
        "executionId": identifier,
        "workflowId": _workflow_id(job.workflow or ""),
        "status": state,
        "progress": 100 if state == "completed" else min(ALMOST, int(100 * job.status.fraction)),
        "results": made,
        "jpgUrl": first["jpgUrl"] if first is not None else None,
        "pngUrl": first["pngUrl"] if first is not None else None,
        "error": _trouble(job) if state == "failed" else None,
        "creditsUsed": (job.credits or 0) if job.ended else 0,
        "createdAt": timestamp(job.created_at),
        "completedAt": timestamp(job.finished_at) if job.finished_at is not None else None,
    }


def _trouble(job: Job) -> Trouble:
    if job.state == "payment_required":
        return {"code": InsufficientCredits.code, "message": "There are too few credits for this execution."}
    error = error_of(job)
    return {"code": error.code, "message": error.message}


def _workflow_id(key: str) -> str:
    """The UUID of the workflow that a job names, also of one that is gone."""
    if not key.startswith(GALLERY):
        return as_uuid(key)
    slug = key.removeprefix(GALLERY)
    return str(load_gallery()[slug]["id"]) if slug in load_gallery() else slug


def _result(record: ImageRecord, links: Links) -> Result:
    stem = PurePath(record.name).stem
    drawn = record.width is not None or record.format in DOCUMENTS
    return {
        "jpgUrl": links.url(record.id, f"{stem}.jpg", rendition="jpg") if drawn else None,
        "pngUrl": links.url(record.id, f"{stem}.png", rendition="png") if drawn else None,
        "url": links.url(record.id, record.name),
        "mediaType": record.media_type,
    }


def _report(report: dict[str, Any]) -> Result:
    return {"jpgUrl": None, "pngUrl": None, "url": None, "mediaType": None, "report": report}
