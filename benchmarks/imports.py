"""What `import aos` costs over a bare interpreter that has nothing but what it starts with."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

ROUNDS = 9
_TIMED = "import time; began = time.perf_counter(); import {}; print((time.perf_counter() - began) * 1000)"


def _import_ms(module: str, compiled: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", _TIMED.format(module)],
        check=True,
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPYCACHEPREFIX": compiled},
    )
    return float(done.stdout)


def run() -> dict[str, Any]:
    """Milliseconds, warm, the median of rounds in which both imports take turns."""
    with tempfile.TemporaryDirectory() as compiled:
        _import_ms("aos", compiled)
        pairs = [(_import_ms("aos", compiled), _import_ms("asyncio", compiled)) for _ in range(ROUNDS)]
    ours, floor = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return {
        "import_aos_ms": statistics.median(ours),
        "import_asyncio_ms": statistics.median(floor),
        "import_x_asyncio": statistics.median(a / b for a, b in pairs),
        "spread": {"import_aos_ms": [min(ours), max(ours)]},
    }
