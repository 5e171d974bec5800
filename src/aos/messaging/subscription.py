"""What `MessageBus.subscribe` gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from aos.messaging.records import SubscriptionStatistics


class Subscription(ABC):
    """A handler's place at a bus. `async with` closes it at the end."""

    name: str
    """Its name, given or made; those with the same name compete."""
    topic: str
    """The pattern that it hears."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """Messages in its mailbox whose turn has not begun."""

    @abstractmethod
    def statistics(self) -> SubscriptionStatistics:
        """What it has done so far."""

    @abstractmethod
    async def close(self) -> None:
        """Hear nothing more, and wait until what was heard before is handled.

        In a store, what was not begun stays there, and what comes is added to it, for who takes up the name again.
        Within its own handler this does not wait. Closing twice is harmless.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
