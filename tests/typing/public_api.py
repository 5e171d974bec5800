"""How a user's code types: this file is checked by mypy, and not run."""

from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

from aos import Agent, AgentOS, Context, GenericPurposeDrivenAgent, Message, RetryPolicy, cron, every, on
from aos.coding import CodeQualityMetrics
from aos.messaging import MessageBus, Subscription
from aos.orchestration import AgentOrchestrator, DirectAdapter, OrchestrationResult, SequentialOrchestrator
from aos.stores import AgentRecord


class Order(BaseModel):
    customer: str
    cents: int


@dataclass
class Balance:
    cents: int = 0


class Till(Agent):
    purpose = "Take money"
    key = "customer"
    State = Balance
    retry = RetryPolicy(attempts=3)

    @on("orders.*")
    async def order(self, event: Order, ctx: Context) -> int:
        balance: Balance = ctx.state
        balance.cents += event.cents
        receipt: str = await ctx.step("charge", charge, event.cents)
        await ctx.publish("receipts", {"receipt": receipt})
        answer = await ctx.ask("Auditor", event, timeout=5.0, returns=Order)
        await ctx.schedule("remind", {"why": "monthly"}, cron="0 7 1 * *")
        assert_type(answer, Any)
        return balance.cents

    @on()
    async def raw(self, event: Message) -> None:
        assert_type(event.topic, str)


class Clerk(Agent):
    @every(60)
    async def look(self, ctx: Context) -> None:
        assert_type(ctx.attempt, int)

    @cron("0 7 * * *")
    async def open(self, ctx: Context) -> None:
        await ctx.send(Till, {"customer": "ada"}, key="ada")


async def charge(cents: int) -> str:
    """A step with a typed result."""
    return f"charged {cents}"


async def use() -> None:
    """What the calls give."""
    async with AgentOS("memory:", [Till, Clerk]) as system:
        assert_type(await system.publish("orders.new", Order(customer="ada", cents=1)), int)
        assert_type(await system.inspect(Till, "ada"), AgentRecord)
    agent = GenericPurposeDrivenAgent(agent_id="a", purpose="b", adapter_name="c")
    await agent.handle_event({"type": "x"})
    async with MessageBus() as bus:
        assert_type(await bus.subscribe("a.>", print), Subscription)
    adapter = DirectAdapter()
    adapter.register_agent("generator", agent)
    assert_type(await SequentialOrchestrator().execute("task", adapter), OrchestrationResult)
    async with AgentOrchestrator() as orchestrator:
        await orchestrator.register_agent(agent)
        assert_type(await orchestrator.coordinate_agents(task="task"), OrchestrationResult)
    assert_type(CodeQualityMetrics(score=0.9, issues=[]).score, float)
