"""What a caller says about a job beside what it is to do."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from darkroom.webhooks.registry import check_address
from darkroom.webhooks.signing import check_secret
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text

__all__ = [
    "HIGHEST_PRIORITY",
    "LONGEST_DEADLINE",
    "LONGEST_KEY",
    "MOST_LABELS",
    "Hook",
    "Terms",
    "checked",
    "clean_labels",
]

HIGHEST_PRIORITY: Final = 10
LONGEST_DEADLINE: Final = 30 * 86_400.0
LONGEST_KEY: Final = 200
MOST_LABELS: Final = 20
MOST_HOOKS: Final = 5
LONGEST_LABEL: Final = 200
LONGEST_LABEL_NAME: Final = 60
NOT_IN_NAMES: Final = str.maketrans("", "", '"\\\n\t')
"""What a path into a JSON document could not name."""


@dataclass(frozen=True, slots=True)
class Hook:
    """An address that hears of the end of one run.

    Attributes:
        url: Where the signed event is posted.
        secret: Signs it (`whsec_…`); that of the server if empty.
    """

    url: str
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a job is to be treated.

    Attributes:
        priority: -10 to 10; higher ones come first.
        deadline_seconds: From now on; what is not done by then fails. None for no deadline.
        labels: The caller's own words on the job, to find it by.
        idempotency_key: The same key with the same call gives the same job, however often it is sent.
        webhooks: Who hears of its end, beside those of the organisation.
        kept: Whether there is a job even if the library knows the answer.
        listed: Whether what goes in and what is made enters the file library. If not, it goes after a while; what is in
            the library already stays there.
    """

    priority: int = 0
    deadline_seconds: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    webhooks: tuple[Hook, ...] = ()
    kept: bool = False
    listed: bool = True

    @property
    def leaves_a_job(self) -> bool:
        """Whether a call that the library answers is a job too: to be found by key or labels, or to be told of."""
        return bool(self.kept or self.idempotency_key is not None or self.labels or self.webhooks)


def checked(terms: Terms, private_ok: Callable[[str], bool] = lambda _: False) -> Terms:
    """The terms with clean labels; webhooks may go to hosts inside the network that are `private_ok`.

    Raises:
        InvalidSettings: Something is out of range.
        UrlNotAllowed: A webhook is no address that may be reached.
    """
    if len(terms.webhooks) > MOST_HOOKS:
        raise InvalidSettings(f"{len(terms.webhooks)} webhooks came; a run has at most {MOST_HOOKS}.", field="webhooks")
    for hook in terms.webhooks:
        check_address(hook.url, private_ok)
        if hook.secret:
            check_secret(hook.secret)
    if not -HIGHEST_PRIORITY <= terms.priority <= HIGHEST_PRIORITY:
        raise InvalidSettings(
            f"The priority is {terms.priority}; it may be -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}.",
            field="priority",
            got=terms.priority,
        )
    seconds = terms.deadline_seconds
    if seconds is not None and not (math.isfinite(seconds) and 0 < seconds <= LONGEST_DEADLINE):
        raise InvalidSettings(
            f"The deadline is {seconds:g} seconds from now; it may be up to {LONGEST_DEADLINE:.0f}, and above 0.",
            field="deadlineSeconds",
        )
    if terms.idempotency_key is not None and not 0 < len(terms.idempotency_key) <= LONGEST_KEY:
        raise InvalidSettings(
            f"The idempotency key has {len(terms.idempotency_key)} characters; it may have 1 to {LONGEST_KEY}.",
            field="idempotencyKey",
        )
    return replace(terms, labels=clean_labels(terms.labels))


def clean_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """Labels without control characters, none too long: names of up to 60 characters, values of up to 200.

    Raises:
        InvalidSettings: There are over 20, one has no name, or a value is no text, number or truth value.
    """
    if len(labels) > MOST_LABELS:
        raise InvalidSettings(f"{len(labels)} labels came; a job has at most {MOST_LABELS}.", field="labels")
    cleaned: dict[str, str] = {}
    for name, value in labels.items():
        shown = clean_text(str(name), LONGEST_LABEL_NAME).translate(NOT_IN_NAMES).strip()
        if not shown or not isinstance(value, str | int | float):
            raise InvalidSettings('A label is a name and a text, such as {"order": "4711"}.', field="labels")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        cleaned[shown] = clean_text(text, LONGEST_LABEL)
    return cleaned
