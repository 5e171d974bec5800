"""Agents: what a user derives from, and the system that runs it."""

from aos.agents.agent import Agent
from aos.agents.context import Context
from aos.agents.declare import cron, every, on
from aos.agents.purpose import GenericPurposeDrivenAgent
from aos.agents.system import AgentOS
from aos.context import ContextServer

__all__ = ["Agent", "AgentOS", "Context", "ContextServer", "GenericPurposeDrivenAgent", "cron", "every", "on"]
