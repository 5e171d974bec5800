"""The envelope: what walks from a sender to a mailbox.

Attributes are those of CloudEvents 1.0 (https://github.com/cloudevents/spec), and what delivery needs.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aos.clock import as_datetime
from aos.codec import payload_decoder

REPLY = "aos.reply"
"""Topic of an answer to an ask."""
WAKE = "aos.wake"
"""Topic of a timer that ends a suspension."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False, omit_defaults=True):
    """One message. It never changes; a retry is the same message with a higher `attempt`.

    Args:
        id: Unique; given by the sender for deduplication, otherwise new.
        source: Address of the sender, which decides the order of delivery.
        type: The topic it was published on; empty for what is sent to an agent directly.
        data: The payload as JSON.
        time: When it was sent, in seconds since the epoch; for a repeating timer, when that was set first.
        subject: The address it was sent to; empty for what was published on a topic.
        not_before: Deliver no earlier, in seconds since the epoch; 0 is at once.
        deadline: Dead-letter it if its turn has not begun by then, in seconds since the epoch; 0 is never.
        name: Name of a timer or answer, unique in its mailbox; empty for everything else.
        attempt: 1 for the first delivery.
        correlation_id: The ask that this asks or answers.
        causation_id: The message whose turn sent this one.
        traceparent: W3C trace context, handed on.
        reply_to: Address that the handler's result is sent to.
        chain: The agents that wait for the answer, first asker first.
        error: For an answer: why there is no result.
        repeat: For a timer: when it comes again, "every SECONDS" or "cron EXPRESSION".
    """

    id: str
    source: str
    type: str
    data: bytes
    time: float
    subject: str = ""
    not_before: float = 0.0
    deadline: float = 0.0
    name: str = ""
    attempt: int = 1
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""
    reply_to: str = ""
    chain: tuple[str, ...] = ()
    error: str = ""
    repeat: str = ""

    @property
    def topic(self) -> str:
        """The topic it was published on."""
        return self.type

    def payload(self, wanted: Any = Any) -> Any:
        """The payload, parsed and validated as `wanted`; raises `InvalidPayload`."""
        return payload_decoder(wanted)(self.data)

    def to_cloudevent(self) -> dict[str, Any]:
        """The message in CloudEvents' JSON format."""
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source or "aos",
            "type": self.type or "aos.message",
            "time": as_datetime(self.time).isoformat(),
            "datacontenttype": "application/json",
            "data": msgspec.Raw(self.data),
        }
        for field in ("subject", "traceparent", "correlation_id", "causation_id"):
            if value := getattr(self, field):
                event[field.replace("_", "")] = value
        return event


def kind_of(address: str) -> str:
    """The kind in an address: `Reviewer` of `Reviewer/src/a.py`."""
    return address.partition("/")[0]


def key_of(address: str) -> str:
    """The key in an address: `src/a.py` of `Reviewer/src/a.py`; empty for a single agent."""
    return address.partition("/")[2]


def answers_address(fence: int) -> str:
    """The mailbox for answers to what a process asks outside of a turn; it ends with the process."""
    return f"~{fence}"


def is_answers(address: str) -> bool:
    """Whether an address is one of `answers_address`."""
    return address.startswith("~")
