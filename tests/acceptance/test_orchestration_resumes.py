"""An orchestration that is killed in the middle continues at the step it was in."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

PROGRAM = """
import asyncio, json, sys
from aos import Agent, AgentOS, on
from aos.orchestration import BusAdapter, HandOffOrchestrator, ParallelOrchestrator, SequentialOrchestrator

path, mode, stop_at = sys.argv[1:]

async def work(name, before):
    print("begin", name, flush=True)
    if name == stop_at:
        await asyncio.Event().wait()  # the test kills the process here
    print("end", name, flush=True)
    output = f"{before or ''}{name}"
    return {"handoff": chr(ord(name) + 1), "output": output} if mode == "handoff" and name < "e" else output

class Hosted(Agent):
    key = "name"

    @on()
    async def take(self, event: dict, ctx):
        return await work(ctx.key, event["previous"])

class Local:
    def __init__(self, name):
        self.name = name

    async def handle_event(self, event):
        return await work(self.name, event["previous"])

ORCHESTRATORS = {
    "sequential": SequentialOrchestrator(timeout=300),
    "parallel": ParallelOrchestrator(max_concurrency=1),
    "handoff": HandOffOrchestrator(),
}

async def main():
    async with AgentOS(f"sqlite:{path}", agents=[Hosted], lease=2.0, stop_deadline=1.0) as system:
        adapter = BusAdapter(system)
        for name in "abcde":
            if name in "bd":
                adapter.register_agent(name, Hosted, key=name)
            else:
                adapter.register_agent(name, Local(name))
        result = await ORCHESTRATORS[mode].execute("task", adapter, run_id="the-run")
        print("result", json.dumps(result.to_dict()), flush=True)

asyncio.run(main())
"""


def _run(path: Path, mode: str, stop_at: str) -> list[str]:
    """Run the program until it ends, or until it is in the step `stop_at`, where it is killed; its lines."""
    command = [sys.executable, "-c", PROGRAM, str(path), mode, stop_at]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line.strip())
            if line.strip() == f"begin {stop_at}":
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == (-signal.SIGKILL if lines[-1] == f"begin {stop_at}" else 0)
    return lines


@pytest.mark.parametrize("mode", ["sequential", "parallel", "handoff"])
def test_killed_in_every_step_it_continues_there(tmp_path, mode):
    """Killed once in each of its steps, a run ends with the right result; what had ended is not run again."""
    store = tmp_path / "aos.db"
    seen = []
    for stop_at in "abcde":
        lines = _run(store, mode, stop_at)
        assert lines[-1] == f"begin {stop_at}"
        seen += lines
    *lines, last = _run(store, mode, "")
    seen += lines
    assert [line for line in seen if line.startswith("end")] == [f"end {name}" for name in "abcde"]
    assert [seen.count(f"begin {name}") for name in "abcde"] == [2, 2, 2, 2, 2]
    result = json.loads(last.removeprefix("result "))
    assert (result["success"], result["steps_completed"]) == (True, 5)
    expected = {name: name for name in "abcde"} if mode == "parallel" else "abcde"
    assert result["output"] == expected


def test_a_run_that_has_ended_gives_its_result_after_a_restart(tmp_path):
    """The same run id in a new process gives the old result, and no agent is called."""
    store = tmp_path / "aos.db"
    *_, first = _run(store, "sequential", "")
    assert _run(store, "sequential", "") == [first]
