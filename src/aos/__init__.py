"""AOS, the Agent Operating System: agents that never stop."""

from aos.agents import Agent, AgentOS, Context, GenericPurposeDrivenAgent, cron, every, on
from aos.errors import AOSError
from aos.message import Message
from aos.resilience import RetryPolicy

__all__ = [
    "AOSError",
    "Agent",
    "AgentOS",
    "Context",
    "GenericPurposeDrivenAgent",
    "Message",
    "RetryPolicy",
    "cron",
    "every",
    "on",
]
