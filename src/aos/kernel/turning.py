"""One turn from its message to its commit."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Any

import msgspec

from aos.errors import (
    DeadLettersFull,
    DeadlinePassed,
    HandlerTimeout,
    InvalidInput,
    MailboxFull,
    StaleFence,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    TurnError,
)
from aos.kernel.cell import Cell
from aos.kernel.crew import pause
from aos.kernel.turn import OpenTurn
from aos.message import REPLY, WAKE, Message
from aos.stores.records import DeadLetter, Outcome, Turn

if TYPE_CHECKING:
    from aos.kernel.runtime import Runtime

log = logging.getLogger("aos.kernel")
TRACEBACK_LIMIT = 16_384
ERROR_LIMIT = 1_000


async def run_turn(runtime: Runtime, cell: Cell, seq: int, message: Message, task: asyncio.Task[Any]) -> None:
    """Run the handler for a message and commit what came of it."""
    at = runtime.now()
    if message.type in (REPLY, WAKE):
        await _discard(runtime, cell, seq, message)
        return
    behaviour, agent = cell.behaviour, cell.agent
    turn = behaviour.turn(runtime, cell, seq, message, at)
    turn.task = task
    cell.turn = turn
    cell.suspended = 0
    outcome: Turn | None = None
    error: BaseException | None = None
    runtime.open_turns.add(turn)
    try:
        runtime.tender.expect(turn, behaviour.timeout)
        if agent is None or message.deadline:
            agent = await _prepare(cell, turn)
        result = await behaviour.handle(agent, turn)
        outcome = Turn(
            cell.address,
            cell.fence,
            seq,
            "committed",
            message,
            turn.state_bytes(),
            behaviour.schema,
            turn.finish(result),
            turn.forgotten or (),
            None,
            turn.has_journal,
            behaviour.ends,
            at,
            runtime.now() - at,
        )
    except (Exception, SystemExit, asyncio.CancelledError) as raised:  # noqa: BLE001 - it is the turn's outcome
        error = raised
    finally:
        runtime.open_turns.discard(turn)
        cell.turn = None
    if task.cancelling():
        await _calm(runtime, task, error)
    if outcome is None or turn.overdue or turn.evicted:
        outcome = _ended_badly(runtime, cell, turn, error)
        if outcome is None:
            return
    try:
        await runtime.store.commit(outcome)
    except (StoreError, InvalidInput, asyncio.CancelledError) as refused:
        await _not_written(runtime, cell, turn, outcome, refused)
    else:
        _committed(runtime, cell, outcome)
        if outcome.outcome == "committed":
            cell.agent = agent


async def _not_written(
    runtime: Runtime,
    cell: Cell,
    turn: OpenTurn,
    outcome: Turn,
    refused: StoreError | InvalidInput | asyncio.CancelledError,
) -> None:
    """The store did not take what came of a turn."""
    if isinstance(refused, StoreError):
        _refused(runtime, cell, outcome, refused)
    elif isinstance(refused, InvalidInput):
        await _not_sent(runtime, cell, turn, outcome, refused)
    else:
        # Whether it was written is not known: what is in memory may be wrong, and is read anew.
        runtime.begin_anew()
        raise refused


async def _calm(runtime: Runtime, task: asyncio.Task[Any], error: BaseException | None) -> None:
    """Take back what cancelled a handler that has ended, or it would hit the commit or a later turn.

    Raises the handler's CancelledError if the system stops.
    """
    if runtime.ending:
        if isinstance(error, asyncio.CancelledError):
            raise error
        return
    while task.cancelling():
        task.uncancel()
    try:
        await pause()  # a cancellation that the handler did not wait for comes now
    except asyncio.CancelledError:
        if runtime.ending:
            raise


def _ended_badly(runtime: Runtime, cell: Cell, turn: OpenTurn, error: BaseException | None) -> Turn | None:
    """The outcome of a turn that did not end well; None if there is none yet, and its message is back in the cell."""
    error = _why(turn, error)
    if error is None:
        cell.suspended = turn.seq
        cell.put_first(turn.seq, turn.message)
        return None
    outcome = _failed(runtime, cell, turn, error, runtime.now() - turn.at)
    if turn.refused is not None and error is turn.refused:
        _refused(runtime, cell, outcome, turn.refused)
        return None
    return outcome


def _why(turn: OpenTurn, error: BaseException | None) -> BaseException | None:
    """What a turn that did not end well died of; None if it only leaves memory."""
    if turn.evicted:
        return None
    if turn.overdue:
        late = HandlerTimeout(turn.title, turn.cell.behaviour.timeout or 0.0)
        late.__cause__ = error  # its traceback says where the handler was
        return late
    if isinstance(error, asyncio.CancelledError):
        return TurnError(f"{turn.title} ended with CancelledError although nobody cancelled it")
    return error


async def _not_sent(runtime: Runtime, cell: Cell, turn: OpenTurn, outcome: Turn, error: InvalidInput) -> None:
    """What the store finds wrong with the messages is the handler's fault: its turn failed all the same."""
    if outcome.outcome != "committed":
        raise error
    outcome = _failed(runtime, cell, turn, error, outcome.took)
    try:
        await runtime.store.commit(outcome)
    except StoreError as refused:
        _refused(runtime, cell, outcome, refused)
    else:
        _committed(runtime, cell, outcome)


async def _prepare(cell: Cell, turn: OpenTurn) -> Any:
    """Look whether it is too late for a message; make and activate its agent. It stays if the turn is committed."""
    behaviour, deadline, agent = cell.behaviour, turn.message.deadline, cell.agent
    if deadline and turn.at > deadline:
        raise DeadlinePassed(f"its deadline passed {turn.at - deadline:.1f} s before its turn")
    if agent is None:
        agent = behaviour.make(cell.address)
        if behaviour.activate is not None:
            await behaviour.activate(agent, turn)
    return agent


def _failed(runtime: Runtime, cell: Cell, turn: OpenTurn, error: BaseException, took: float) -> Turn:
    """The outcome of a turn that failed: another attempt, or a dead letter."""
    message, now = turn.message, runtime.now()
    late = isinstance(error, DeadlinePassed)
    delay = None if late else cell.behaviour.retry.delay(message.attempt, error, runtime.random)
    text = one_line(error)
    dead = None
    outgoing: tuple[Message, ...] = ()
    outcome: Outcome = "retry"
    if delay is None:
        trace = _storable("".join(traceback.format_exception(error)))[-TRACEBACK_LIMIT:]
        dead = DeadLetter(cell.address, message, type(error).__name__, text, trace, now)
        outgoing, outcome = turn.abandon(text), "dead"
        log.error("%s: gave up %r after attempt %d: %s", turn.title, message.id, message.attempt, text)
    else:
        message = msgspec.structs.replace(message, attempt=message.attempt + 1, not_before=now + delay)
        log.warning("%s: attempt %d failed, again in %.1f s: %s", turn.title, turn.attempt, delay, text)
    return Turn(
        cell.address,
        cell.fence,
        turn.seq,
        outcome,
        message,
        outgoing=outgoing,
        dead=dead,
        has_journal=turn.has_journal and dead is not None,
        ends=cell.behaviour.ends,
        at=turn.at,
        took=took,
        error=text,
    )


async def _discard(runtime: Runtime, cell: Cell, seq: int, message: Message) -> None:
    """Take an answer or wake-up away that no turn waits for."""
    runtime.answered(message)
    outcome = Turn(cell.address, cell.fence, seq, "discarded", message)
    try:
        await runtime.store.commit(outcome)
    except StoreError as refused:
        _refused(runtime, cell, outcome, refused)
    else:
        _committed(runtime, cell, outcome)


def _committed(runtime: Runtime, cell: Cell, outcome: Turn) -> None:
    """Bring the cell to what is now in the store."""
    if cell.setbacks:
        cell.setbacks = 0
    if outcome.outcome == "retry":
        cell.put_back(outcome.seq, outcome.message)
        runtime.alarm.set(outcome.message.not_before, cell)
    else:
        if outcome.state is not None:
            cell.state, cell.schema = outcome.state, outcome.schema
        if cell.journal is not None:
            cell.journal.pop(outcome.seq, None)
            cell.journal = cell.journal or None
        if cell.signals is not None:
            cell.give_up_signals(outcome.seq)
        for name in outcome.forget:
            cell.forget(name)
    runtime.counts[outcome.outcome] += 1
    if outcome.ends or runtime.room:
        runtime.made_room(cell, outcome)


def _refused(runtime: Runtime, cell: Cell, outcome: Turn, refused: StoreError) -> None:
    """The store did not take an outcome, which is no fault of the handler's: the turn is run again later."""
    if isinstance(refused, StoreCorrupt | StoreClosed):
        raise refused
    if isinstance(refused, StaleFence):
        runtime.lost(cell)
        return
    cell.setbacks += 1
    # A full mailbox may stay full for long; a store that refuses is asked again soon, so that it goes on when it can.
    full = isinstance(refused, MailboxFull | DeadLettersFull)
    delay = min(30.0 if full else 2.0, 0.05 * 2.0 ** min(cell.setbacks, 10))
    told = cell.setbacks >= 8 if full else cell.setbacks <= 3
    level = logging.WARNING if told else logging.DEBUG
    log.log(level, "%s: its turn waits %.2f s: %s", cell.address, delay, one_line(refused))
    before = outcome.message
    if outcome.outcome == "retry":
        before = msgspec.structs.replace(before, attempt=before.attempt - 1)
    cell.put_back(outcome.seq, msgspec.structs.replace(before, not_before=runtime.now() + delay))
    runtime.alarm.set(runtime.now() + delay, cell)


def one_line(error: BaseException) -> str:
    """An error as one line that can be stored: its class and its text."""
    name = type(error).__name__
    try:
        text = _storable(" ".join(str(error).split()))
    except Exception as broken:  # noqa: BLE001 - an error that cannot be shown is an error all the same
        text = f"its text cannot be shown ({type(broken).__name__})"
    return f"{name}: {text}"[:ERROR_LIMIT] if text else name


def _storable(text: str) -> str:
    """Text without lone surrogates, which file names have and stores refuse."""
    return text.encode("utf-8", "backslashreplace").decode()
