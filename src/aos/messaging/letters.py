"""Dead letters of a bus in memory."""

from __future__ import annotations

import traceback
from collections import OrderedDict

from aos.clock import now
from aos.message import Message
from aos.messaging.item import Item
from aos.stores.records import DeadLetter


class DeadLetters:
    """The latest messages that were given up, by number, with what is needed to send them again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._kept: OrderedDict[int, tuple[DeadLetter, Item]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, address: str, message: Message, item: Item, error: BaseException) -> DeadLetter:
        """Keep a message and why it was given up; the oldest falls out at the limit."""
        self._count += 1
        letter = DeadLetter(
            address=address,
            message=message,
            error_type=type(error).__name__,
            reason=" ".join(str(error).split()) or type(error).__name__,
            traceback="".join(traceback.format_exception(error)),
            at=now(),
            number=self._count,
        )
        self.put_back(letter, item)
        return letter

    def put_back(self, letter: DeadLetter, item: Item) -> None:
        """Keep a letter that was taken."""
        self._kept[letter.number] = (letter, item)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def get(self, number: int) -> tuple[DeadLetter, Item] | tuple[None, None]:
        """A letter and its message; None and None if it is not there any more."""
        return self._kept.get(number, (None, None))

    def remove(self, letter: DeadLetter) -> None:
        """Take a letter out."""
        del self._kept[letter.number]

    def list(self) -> list[DeadLetter]:
        """The letters, oldest first."""
        return [letter for letter, _ in self._kept.values()]
