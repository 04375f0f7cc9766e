"""`darkroom webhooks`: the addresses that hear of every job."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # the command line reads this module whatever it runs, so it imports nothing slow
if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Sequence

    from darkroom.webhooks.registry import Webhook

__all__ = ["add_parser"]


def add_parser(add: Callable[..., argparse.ArgumentParser], commands: object) -> None:
    """Add the subcommand; `add` is the command line's own way of adding one."""
    parser = add(
        commands,
        "webhooks",
        "list, add, remove or rotate addresses that hear of every job",
        "Events are signed after Standard Webhooks and tried again for three days. Without an action it is `list`.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    parser.set_defaults(handler=_run, action="list", address=None, secret=None)
    for name, does in (
        ("list", "which there are, and what they did not hear yet"),
        ("add", "tell an address of every job from now on; prints the secret that signs"),
        ("remove", "tell it nothing more"),
        ("rotate", "give it a new secret; the old one signs too for a day"),
    ):
        action = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        if name != "list":
            action.add_argument("address", metavar="URL" if name == "add" else "URL|ID", help="of the receiver")
        if name == "add":
            action.add_argument("--secret", metavar="whsec_…", help="instead of a fresh one")


def _run(chosen: argparse.Namespace) -> int:
    import asyncio

    from darkroom.errors import DarkroomError

    try:
        return asyncio.run(_act(chosen))
    except DarkroomError as error:
        sys.stderr.write(f"darkroom: {error.message}\n")
        return 1


async def _act(chosen: argparse.Namespace) -> int:
    from darkroom.app import open_database
    from darkroom.fetch import Fetcher
    from darkroom.principal import LOCAL
    from darkroom.webhooks.registry import Webhooks

    async with open_database(chosen.data_dir) as (database, config):
        hooks = Webhooks(database, Fetcher(allowed_hosts=config.webhook_hosts).may_be_private)
        mine = LOCAL.organisation
        if chosen.action == "list":
            return _show(await hooks.list(mine))
        if chosen.action == "add":
            return await _tell(hooks.add(mine, chosen.address, chosen.secret), secret=True)
        if chosen.action == "rotate":
            return await _tell(hooks.rotate(mine, chosen.address), secret=True)
        return await _tell(hooks.remove(mine, chosen.address), secret=False)


def _show(found: Sequence[Webhook]) -> int:
    for hook in found:
        state = (
            f"disabled: {hook.disabled}" if hook.disabled else f"{hook.waiting} waiting" if hook.waiting else "in use"
        )
        sys.stdout.write(f"{hook.id}  {hook.url}  {state}\n")
    if not found:
        sys.stdout.write("No webhooks. `darkroom webhooks add https://…` tells an address of every job.\n")
    return 0


async def _tell(doing: Awaitable[Webhook], *, secret: bool) -> int:
    hook = await doing
    sys.stdout.write(f"{hook.id}  {hook.url}\n")
    if secret:
        sys.stdout.write(f"Secret, for checking signatures: {hook.secret}\n")
    return 0
