"""Where `aos send` sends: an agent, or the agents that hear a topic."""

from __future__ import annotations

from aos.cli.access import check_address, processes
from aos.errors import InvalidInput, InvalidPayload, UnknownAgent
from aos.message import Message, kind_of
from aos.stores import DurableStore
from aos.stores.records import EACH
from aos.stores.routes import Routes
from aos.topic import check_topic

_NAMED = 10


class Destination:
    """An agent, if the store knows one of that name, otherwise a topic.

    `find` comes first; after it, `address` is the agent's or empty, and `topic` what picks the handler or is
    published on.

    Args:
        target: A topic, or an address or the first part of one.
        key: The rest of the address.
        topic: Picks the handler of an agent.
    """

    def __init__(self, target: str, *, key: str, topic: str) -> None:
        self._target = target
        self._key = key
        self._routes = Routes()
        self.address = ""
        self.topic = topic

    async def find(self, store: DurableStore) -> None:
        """Find out what the target is; raises what is wrong with it."""
        kinds = {kind.name: kind for kind in await store.kinds()}
        for kind in kinds.values():
            self._routes.declare(kind)
        if kind_of(self._target) in kinds:
            if self._key and "/" in self._target:
                raise InvalidInput(f"{self._target!r} has a key already: leave --key away")
            self.address = f"{self._target}/{self._key}" if self._key else self._target
            kind = kinds[kind_of(self.address)]
            if kind.key == EACH:
                topics = ", ".join(kind.patterns)
                raise InvalidInput(f"{kind.name} is a subscription: publish on a topic that it hears ({topics})")
            check_address(self.address, kinds)
            if self.topic:
                check_topic(self.topic)
        elif self._key or self.topic:
            raise UnknownAgent(self._target, tuple(kinds))
        else:
            self.topic = check_topic(self._target)

    def agents(self, message: Message) -> tuple[list[str], dict[str, str]]:
        """The agents that a message is for, and why others that hear its topic cannot take it.

        A suspended agent that waits for the topic is not among them.

        Raises:
            InvalidPayload: All that hear it cannot take it.
        """
        lost: list[tuple[str, str]] = []
        found = list(self._routes.addresses(message, lost))
        if lost and not found:
            name, why = lost[0]
            raise InvalidPayload(f"{name} hears {self.topic!r}, but {why}")
        return found, dict(lost)

    def unheard(self) -> InvalidInput:
        """The error for a target that is nobody's topic and nobody's name."""
        kinds = self._routes.kinds.values()
        names = ", ".join(sorted(kind.name for kind in kinds)[:_NAMED]) or "none"
        topics = ", ".join(sorted({pattern for kind in kinds for pattern in kind.patterns})[:_NAMED]) or "none"
        return InvalidInput(
            f"nobody hears the topic {self.topic!r}, and no agent is called so (topics: {topics}; agents: {names})"
        )


async def idle_kinds(store: DurableStore, kinds: set[str]) -> list[str]:
    """Those kinds that no process runs now."""
    return sorted(kinds - {kind for process in await processes(store) for kind in process.kinds})
