"""Finding out, before a handler waits, that it would wait for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Node(Protocol):
    """A mailbox or a pump."""

    @property
    def name(self) -> str:
        """What to call it in a report."""

    def needs(self) -> Sequence[Sequence[Node]]:
        """What must happen before it moves on: one of each group moves on. Nothing: it moves on by itself."""


def circle(waiting: Node, group: Sequence[Node]) -> tuple[str, ...]:
    """Whether none of a group can move on unless `waiting` does.

    Returns:
        The names of those that would wait for each other, `waiting` first and last; nothing if there is no circle.

    Source: the AND-OR model of E. Knapp, "Deadlock detection in distributed databases", ACM Computing Surveys, 1987.
    """
    needs: dict[Node, Sequence[Sequence[Node]]] = {}
    todo = list(group)
    while todo:
        node = todo.pop()
        if node is not waiting and node not in needs:
            needs[node] = node.needs()
            todo.extend(each for some in needs[node] for each in some)
    free: set[Node] = set()
    before = -1
    while len(free) > before:
        before = len(free)
        free.update(node for node, groups in needs.items() if all(any(one in free for one in some) for some in groups))
    if not group or not free.isdisjoint(group):
        return ()
    names = dict.fromkeys(node.name for node in needs if node not in free)
    names.pop(waiting.name, None)
    return (waiting.name, *names, waiting.name)
