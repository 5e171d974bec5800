"""`python -m benchmarks [NAME …] [--json]`: run benchmarks and print a table, or one JSON object per benchmark."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

BARS: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "bus": {
        "publish_to_handler_x_queue": ("<=", 2),
        "request_reply_x_raw": ("<=", 2),
        "fanout_x_raw": ("<=", 2),
        "agent_turn_x_queue": ("<=", 8),
    },
    "turns": {
        "serial_x_single_commit": ("<=", 2),
        "concurrent_x_group_commit": (">=", 0.25),
        "step_x_single_commit": ("<=", 2),
    },
    "agents": {
        "idle_bytes": ("<=", 1024),
        "hibernated_bytes": ("<=", 0),
        "storage_growth": ("<=", 1.1),
    },
    "orchestration": {"two_step_us": ("<=", 40)},
    "imports": {"import_aos_ms": ("<=", 80)},
}


def main(arguments: list[str] | None = None) -> int:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BARS)}; all if none is named")
    parser.add_argument("--json", action="store_true", help="print one JSON object per benchmark")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BARS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}: there are {', '.join(BARS)}")
    for name in options.names or BARS:
        if not options.json:
            print(f"{name} …", file=sys.stderr, flush=True)
        result: dict[str, Any] = importlib.import_module(f"benchmarks.{name}").run()
        if options.json:
            print(json.dumps({"benchmark": name, **result}), flush=True)
        else:
            _print_table(name, result)
    return 0


def _print_table(name: str, result: dict[str, Any]) -> None:
    spread: Any = result.get("spread", {})
    for field, value in result.items():
        if field == "spread" or not isinstance(value, int | float):
            continue
        bar = BARS[name].get(field)
        verdict = ""
        if bar:
            sign, limit = bar
            verdict = f"{sign} {limit:g}  {'ok' if (value <= limit if sign == '<=' else value >= limit) else 'MISSED'}"
        low_high = spread.get(field) if isinstance(spread, dict) else None
        between = f"{low_high[0]:.4g} … {low_high[1]:.4g}" if low_high else ""
        print(f"{name:14} {field:30} {value:>12.4g}  {between:20} {verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
