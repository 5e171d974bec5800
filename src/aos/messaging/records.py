"""What a bus tells of itself: plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionStatistics:
    """What one subscription has done.

    Args:
        name: Its name, shared by those that compete.
        topic: The pattern that it hears.
        pending: Messages in its mailbox whose turn has not begun.
        running: Messages that are being handled, those that wait for their retry time included.
        handled: Messages whose handler returned.
        failed: Attempts whose handler raised.
    """

    name: str
    topic: str
    pending: int
    running: int
    handled: int
    failed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BusStatistics:
    """What a bus has done in this process since it was made.

    Args:
        published: Messages accepted, requests included; also those that nobody heard.
        handled: Deliveries whose handler returned.
        retried: Attempts after the first.
        dead: Deliveries given up.
        pending: Deliveries in mailboxes whose turn has not begun; of those in a store, what this process took.
        running: Deliveries that are being handled, those that wait for their retry time included.
        subscriptions: Open subscriptions.
        duplicates: In memory: messages left out because their id was accepted before.
        blocked: In memory: publishers that wait for room in a mailbox.
    """

    published: int
    handled: int
    retried: int
    dead: int
    pending: int
    running: int
    subscriptions: int
    duplicates: int = 0
    blocked: int = 0
