"""The right to run something: there are as many slots as the executor can run plans."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Slot"]


class Slot:
    """A slot that its holder has taken, gives back once, and may lend in between.

    Args:
        slots: Where it was taken from.

    Attributes:
        held: Whether it is the holder's at this moment.
    """

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self.held = True

    async def another(self) -> "Slot | None":
        """A further slot, None if none is free or somebody waits for one."""
        if self._slots.locked():
            return None
        await self._slots.acquire()
        return Slot(self._slots)

    def release(self) -> None:
        """Give it back; a second time changes nothing."""
        if self.held:
            self.held = False
            self._slots.release()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Let others have it while the holder waits for something that needs no slot, then wait for one again.

        Whoever is cancelled in between does not get it back: nothing more is to run in it.
        """
        self.release()
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._take_again()
            raise
        await self._take_again()

    async def _take_again(self) -> None:
        await self._slots.acquire()
        self.held = True
