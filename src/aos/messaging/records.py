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
        retried: Attempts after the first.
        dead: Messages given up.
    """

    name: str
    topic: str
    pending: int
    running: int
    handled: int
    retried: int
    dead: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BusStatistics:
    """What a bus has done since it was made.

    Args:
        published: Messages accepted, requests included; also those that nobody heard.
        duplicates: Messages left out because their id was accepted before.
        handled: Deliveries whose handler returned.
        retried: Attempts after the first.
        dead: Deliveries given up.
        pending: Deliveries in mailboxes whose turn has not begun.
        running: Deliveries that are being handled, those that wait for their retry time included.
        blocked: Publishers that wait for room in a mailbox.
        subscriptions: Open subscriptions.
    """

    published: int
    duplicates: int
    handled: int
    retried: int
    dead: int
    pending: int
    running: int
    blocked: int
    subscriptions: int
