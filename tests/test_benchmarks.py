"""Every benchmark runs through, at its smallest size: `make benchmarks` must not stop at one that nobody ran."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.long
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_runs_at_its_smallest_size(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path), "--smallest"], cwd=ROOT, capture_output=True, text=True,
                          timeout=300, env={"PATH": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout) and "Traceback" not in done.stderr


def test_make_benchmarks_runs_all_of_them() -> None:
    assert set(re.findall(r"benchmarks/(\w+)\.py", (ROOT / "Makefile").read_text())) == {p.stem for p in BENCHMARKS}


def test_the_script_for_a_gpu_can_be_read_and_names_files_that_are_there() -> None:
    script = ROOT / "benchmarks/on_gpu.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    named = set(re.findall(r"(?:benchmarks|tests)/\w+\.py", script.read_text()))
    assert {"tests/test_gpu.py", "benchmarks/train_speed.py"} <= named
    assert all((ROOT / name).is_file() for name in named)
