"""The setting that names a model, and which card it means."""

from collections.abc import Callable, Mapping, Sequence

from darkroom_tools.base import Run
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.models import Card, best_installed, card, cards_for, missing
from darkroom_tools.settings import nearest

__all__ = ["known_model", "wanted_model"]


def known_model(names: Sequence[str]) -> Callable[[str], str]:
    """A validator that takes these names only. As an enum in the schema they would cost more than all other words."""

    def check(value: str) -> str:
        if value in names:
            return value
        near = nearest(value, list(names))
        hint = f" Did you mean {near!r}?" if near else ""
        said = f"Setting 'model' should be one of {', '.join(names)}, but got {value[:60]!r}.{hint}"
        raise InvalidSettings(said, field="model", got=value[:60], allowed=list(names), nearest=near)

    return check


def wanted_model(name: str, task: str, run: Run, families: Mapping[str, Sequence[str]]) -> Card:
    """The card that a name stands for.

    Args:
        name: `auto`, an id, or the name of a family, of which the first installed one is taken.
        task: Where `auto` looks: the best installed model that may be used commercially.
        run: Knows what is installed.
        families: Ids by name, the best first.

    Raises:
        ModelNotInstalled: It is not here, or with `auto` none is.
    """
    if name == "auto":
        best = best_installed(task, run.installed)
        if best is None:
            raise missing(next(each.id for each in cards_for(task) if each.commercial))
        return best
    ids = families.get(name, (name,))
    found = next((each for each in ids if run.installed(each)), None)
    if found is None:
        raise missing(ids[0])
    return card(found)
