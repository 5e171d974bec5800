"""Looking at a memory store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from aos.codec import state_decoder
from aos.message import Message, is_answers, key_of, kind_of
from aos.stores.memory_box import Box, Memory
from aos.stores.records import AgentRecord, DeadLetter, Holder, Kind, Limits, StoreStatistics, TurnRecord


class MemoryLook:
    """The verbs of `Inspection` that only look, and the few that need nothing of the runtime's."""

    memory: Memory
    limits: Limits
    _fence: int

    async def statistics(self) -> StoreStatistics:
        boxes = [box for address, box in self.memory.boxes.items() if not is_answers(address)]
        return StoreStatistics(
            agents=len(boxes),
            pending=sum(len(box.mail) for box in boxes if box.mail),
            dead=len(self.memory.dead),
            turns_kept=self.memory.kept,
            journal=sum(len(entries) for box in boxes if box.journal for entries in box.journal.values()),
            size=sum(len(box.state or b"") + sum(len(m.data) for m in (box.mail or {}).values()) for box in boxes),
        )

    async def agents(
        self, *, kind: str = "", prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[AgentRecord]:
        names = sorted(
            name
            for name in self.memory.boxes
            if name > after and name.startswith(prefix) and not is_answers(name) and (not kind or kind_of(name) == kind)
        )
        return [self._agent(name, self.memory.boxes[name]) for name in names[:limit]]

    async def agent(self, address: str) -> AgentRecord | None:
        box = self.memory.boxes.get(address)
        return None if box is None else self._agent(address, box)

    async def turns(self, *, address: str = "", after: int = 0, limit: int = 100) -> list[TurnRecord]:
        keep = self.limits.history_count
        kept = [self.memory.history.get(address, [])] if address else self.memory.history.values()
        found = sorted(fields for turns in kept for fields in turns[-keep:] if fields[0] > after)
        return [TurnRecord(*fields) for fields in (found[:limit] if after else found[-limit:])]

    async def pending(self, address: str, *, limit: int = 100) -> list[Message]:
        box = self.memory.boxes.get(address)
        return list((box.mail or {}).values())[:limit] if box else []

    async def kinds(self) -> list[Kind]:
        return list(self.memory.routes.kinds.values())

    async def dead_letters(
        self, *, address: str = "", numbers: Sequence[int] = (), limit: int = 100
    ) -> list[DeadLetter]:
        letters = self.memory.dead.values()
        wanted = (d for d in letters if (not address or d.address == address) and (not numbers or d.number in numbers))
        return list(itertools.islice(wanted, limit))

    async def drop(self, numbers: Sequence[int]) -> int:
        return sum(self.memory.dead.pop(number, None) is not None for number in numbers)

    async def holders(self) -> list[Holder]:
        stopping = self.memory.stopping
        return [
            msgspec.structs.replace(holder, stopping=fence in stopping) for fence, holder in self.memory.holders.items()
        ]

    async def request_stop(self, fences: Sequence[int] = ()) -> int:
        asked = [fence for fence in self.memory.holders if not fences or fence in fences]
        self.memory.stopping.update(asked)
        return len(asked)

    async def stop_requested(self) -> bool:
        return self._fence in self.memory.stopping

    def _agent(self, address: str, box: Box) -> AgentRecord:
        waits = [e for entries in (box.journal or {}).values() for e in entries.values() if not e.done]
        kept = self.memory.history.get(address)
        last = TurnRecord(*kept[-1]) if kept else None
        return AgentRecord(
            address=address,
            kind=kind_of(address),
            key=key_of(address),
            state=None if box.state is None else state_decoder(object)(box.state),
            schema=box.schema,
            turns=box.turns,
            pending=len(box.mail or ()),
            dead=sum(letter.address == address for letter in self.memory.dead.values()),
            owner=box.fence,
            waiting_for="; ".join(e.detail for e in waits if e.kind != "step"),
            last_turn_at=last.at if last else None,
            last_error=last.error if last else "",
        )
