"""Runs a script of these tests in several processes that form one group, as a launcher would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run_in_processes(script: str, arguments: object, world: int = 2, timeout: float = 600) -> None:
    """Start `tests/support/<script>` with `arguments` as JSON in `world` processes; all must succeed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = [str(HERE.parents[1]), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    shared = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                           "MASTER_PORT": str(port), "PYTHONPATH": os.pathsep.join(paths)}
    running = [subprocess.Popen([sys.executable, str(HERE / script), json.dumps(arguments)], text=True,
                                env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT) for rank in range(world)]
    try:
        said = [process.communicate(timeout=timeout)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for process, text in zip(running, said, strict=True):
        assert process.returncode == 0, text[-6000:]
