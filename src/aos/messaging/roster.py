"""Who hears what: the mailboxes of a bus and the members at them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aos.errors import InvalidInput
from aos.messaging.mailbox import Mailbox, Member, Pump
from aos.messaging.records import SubscriptionStatistics
from aos.messaging.subscription import Subscription
from aos.topic import TopicTable


class Roster:
    """Mailboxes by topic and by name, and what their members have done."""

    def __init__(self) -> None:
        self._table: TopicTable[Mailbox] = TopicTable()
        self.match = self._table.match
        """The mailboxes for a topic; `InvalidTopic` if it is none."""
        self.named: dict[str, Mailbox] = {}
        """Open mailboxes."""
        self.boxes: dict[Mailbox, None] = {}
        """Mailboxes that are open or not empty yet."""
        self.members: dict[Member, None] = {}
        """Members that are not done yet."""
        self._made = self._handled = self._retried = 0

    @property
    def handled(self) -> int:
        """Deliveries whose handler returned, those of closed subscriptions included."""
        return self._handled + sum(member.handled for member in self.members)

    @property
    def retried(self) -> int:
        """Attempts after the first, those of closed subscriptions included."""
        return self._retried + sum(member.retried for member in self.members)

    def pumps(self) -> list[Pump]:
        """All that are at work."""
        return [pump for box in self.boxes for pump in box.pumps]

    def mailbox(self, topic: str, name: str | None, limit: int) -> Mailbox:
        """The open mailbox of that name, or a new one.

        Raises:
            InvalidTopic: `topic` is no pattern.
            InvalidInput: The name is that of a mailbox with another topic or limit.
        """
        box = None if name is None else self.named.get(name)
        if box is None:
            self._made += 1
            box = Mailbox(name or f"{topic}#{self._made}", topic, limit)
            self._table.add(topic, box)
            self.boxes[box] = None
            self.named[box.name] = box
        elif (box.topic, box.limit) != (topic, limit):
            raise InvalidInput(
                f"subscription {name!r} hears {box.topic!r} with max_pending={box.limit}: "
                "those that share a name share these, so take another name"
            )
        return box

    def join(self, member: Member) -> None:
        """A member begins to take messages from its mailbox."""
        self.members[member] = None
        member.box.members.append(member)
        member.box.idle.extend([member] * member.concurrency)

    def leave(self, member: Member) -> None:
        """A member takes no more, or, as the last of its mailbox, only what is in it."""
        box = member.box
        if member.closed:
            return
        member.closed = True
        box.members.remove(member)
        if box.members:
            for _ in range(box.idle.count(member)):
                box.idle.remove(member)
        else:
            box.closed = True
            del self.named[box.name]
            self._table.remove(box.topic, box)
            box.admit()
        for pump in box.pumps:
            if pump.member is member:
                pump.resume()
        self.forget(member)

    def forget(self, member: Member) -> None:
        """Let go of a member that left, once it is done."""
        box = member.box
        if not member.closed or any(pump.member is member for pump in box.pumps) or (box.closed and box.queue):
            return
        if self.members.pop(member, member) is None:
            self._handled += member.handled
            self._retried += member.retried
        if box.closed and not box.pumps:
            self.boxes.pop(box, None)


class LocalSubscription(Subscription):
    """A handler's place at a bus in memory."""

    def __init__(self, member: Member, close: Callable[[Member], Awaitable[None]]) -> None:
        self._member = member
        self._close = close
        self.name = member.box.name
        self.topic = member.box.topic

    @property
    def pending(self) -> int:
        """Messages in its mailbox whose turn has not begun."""
        return len(self._member.box.queue)

    def statistics(self) -> SubscriptionStatistics:
        """What it has done so far."""
        member = self._member
        return SubscriptionStatistics(
            name=self.name,
            topic=self.topic,
            pending=self.pending,
            running=sum(pump.member is member for pump in member.box.pumps),
            handled=member.handled,
            failed=member.failed,
        )

    async def close(self) -> None:
        """Hear nothing more, and wait until what was heard before is handled."""
        await self._close(self._member)
