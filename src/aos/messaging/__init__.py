"""Messaging: `MessageBus` and what it gives back."""

from aos.messaging.bus import MessageBus
from aos.messaging.records import BusStatistics, SubscriptionStatistics
from aos.messaging.subscription import Subscription

__all__ = ["BusStatistics", "MessageBus", "Subscription", "SubscriptionStatistics"]
