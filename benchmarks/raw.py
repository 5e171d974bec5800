"""Raw limits: what asyncio alone costs for the same work, in seconds of CPU for each message.

Everything is bounded as the mailboxes of a bus are by default, and does without routing, retries and accounting.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

BOUND = 1_000
"""Messages that a queue may hold."""


async def queue(messages: int, bound: int = BOUND) -> float:
    """One producer puts, one consumer gets."""
    line: asyncio.Queue[int] = asyncio.Queue(bound)
    got = 0

    async def consume() -> None:
        nonlocal got
        for _ in range(messages):
            await line.get()
            got += 1

    consumer = asyncio.create_task(consume())
    began = time.process_time()
    for number in range(messages):
        await line.put(number)
    await consumer
    took = time.process_time() - began
    assert got == messages
    return took / messages


async def request_reply(messages: int) -> float:
    """One asks through a queue and waits for a future, one answers; one request at a time."""
    line: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue(BOUND)
    loop = asyncio.get_running_loop()

    async def answer() -> None:
        for _ in range(messages):
            number, reply = await line.get()
            reply.set_result(number)

    answerer = asyncio.create_task(answer())
    began = time.process_time()
    for number in range(messages):
        reply: asyncio.Future[int] = loop.create_future()
        await line.put((number, reply))
        assert await reply == number
    took = time.process_time() - began
    await answerer
    return took / messages


async def fanout(messages: int, consumers: int, *, pause: bool) -> float:
    """One producer puts each message into a queue for each consumer; per delivery.

    With `pause` the consumers empty their queues after each message, so that each delivery wakes a task.
    """
    lines: list[asyncio.Queue[int]] = [asyncio.Queue(BOUND) for _ in range(consumers)]
    got = 0

    async def consume(line: asyncio.Queue[int]) -> None:
        nonlocal got
        for _ in range(messages):
            await line.get()
            got += 1

    tasks = [asyncio.create_task(consume(line)) for line in lines]
    await asyncio.sleep(0)
    began = time.process_time()
    for number in range(messages):
        for line in lines:
            await line.put(number)
        if pause:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    took = time.process_time() - began
    assert got == messages * consumers
    return took / messages / consumers


async def handler(messages: int) -> float:
    """One coroutine is called and awaited, and nothing else."""
    got = 0

    async def handle(_: Any) -> None:
        nonlocal got
        got += 1

    began = time.process_time()
    for number in range(messages):
        await handle(number)
    took = time.process_time() - began
    assert got == messages
    return took / messages
