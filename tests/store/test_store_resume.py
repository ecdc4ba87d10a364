"""Killed runs: at any moment, again and again, and the bytes are those of an unbroken run."""

from __future__ import annotations

import os
import random
import signal as signals
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from fuse import Fuse
from manifests import change_manifest
from store_helpers import damaged_root, hashes, prepare

from emgecg_cli.core.datasets import Listing, Source
from emgecg_cli.core.datasets.ptb_xl import open_source
from emgecg_cli.core.errors import MedReportError


def run_until(fuse: Fuse, source: Source, out: Path, left: int) -> int:
    """Prepare with a fuse that blows before operation `left` (-1: never); returns the operations seen."""
    return fuse.burn(lambda: prepare(source, out), out, left)


def test_killed_before_any_file_operation_ends_with_the_same_bytes(tmp_path: Path, fuse: Fuse) -> None:
    source = open_source(damaged_root(tmp_path / "root"))
    n_events = run_until(fuse, source, tmp_path / "whole", -1)
    expected = hashes(tmp_path / "whole")
    assert n_events > 30
    for left in range(1, n_events + 1):
        out = tmp_path / f"killed-{left}"
        assert run_until(fuse, source, out, left) == left
        result = prepare(source, out)
        assert hashes(out) == expected, f"killed before operation {left}"
        assert not (out / ".partial").exists() and prepare(source, out).already_finished
        assert left < n_events / 2 or result.n_reused_shards > 0


CHILD = """
import os, signal, sys
from pathlib import Path
from emgecg_cli.core.datasets.ptb_xl import open_source
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.store import prepare_store
root, out, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = 0
def hook(event, arguments):
    global seen
    if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(out):
        seen += 1
        if seen == left:
            os.kill(os.getpid(), signal.SIGKILL)
source = open_source(Path(root))
sys.addaudithook(hook)
prepare_store(source, Path(out), PrepareConfig(shard_size=4))
"""


def test_sigkill_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    root, out = damaged_root(tmp_path / "root"), tmp_path / "store"
    prepare(open_source(root), tmp_path / "whole")
    rng = random.Random(0)
    statuses = []
    for attempt in range(4):
        left = rng.randint(8, 14) if attempt < 3 else -1
        done = subprocess.run([sys.executable, "-c", CHILD, str(root), str(out), str(left)], check=False,
                              capture_output=True, env={**os.environ, "POLARS_MAX_THREADS": str(attempt % 2 + 1)})
        statuses.append(done.returncode)
        if done.returncode == 0:
            break
        assert done.returncode == -signals.SIGKILL, done.stderr.decode()
    assert statuses[-1] == 0 and statuses.count(-signals.SIGKILL) >= 2
    assert hashes(out) == hashes(tmp_path / "whole")


def test_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("a", "b"):
        prepare(open_source(damaged_root(tmp_path / place / "root")), tmp_path / place / "store")
    assert hashes(tmp_path / "a" / "store") == hashes(tmp_path / "b" / "store")


def test_other_arguments_are_refused(tmp_path: Path, fuse: Fuse) -> None:
    source, out = open_source(damaged_root(tmp_path / "root")), tmp_path / "store"
    run_until(fuse, source, out, 12)
    with pytest.raises(MedReportError, match=r"unfinished, and begun with other min_words: 0 \(now 3\)") as caught:
        prepare(source, out, min_words=3)
    assert "give another --out" in (caught.value.hint or "")
    prepare(source, out)
    with pytest.raises(MedReportError, match=r"a finished store, made with other seed: 0 \(now 1\)"):
        prepare(source, out, seed=1)
    with pytest.raises(MedReportError, match="a finished store, made with other input"):
        prepare(replace(source, listing=lambda: islice(source.listing(), 1, None)), out)
    before = hashes(out)
    assert prepare(source, out).already_finished and hashes(out) == before


def test_a_finished_store_is_compared_with_its_source_without_listing_it_where_its_files_are_the_same(
        tmp_path: Path) -> None:
    root, out = damaged_root(tmp_path / "root"), tmp_path / "store"
    made = prepare(open_source(root), out)

    def opened(rows: Callable[[], Iterator]) -> Source:
        source = open_source(root)
        assert isinstance(source.listing, Listing)
        return replace(source, listing=replace(source.listing, rows=rows))

    def unread() -> Iterator:
        raise AssertionError("listed")

    found = prepare(opened(unread), out)
    assert found.already_finished and found.manifest == made.manifest and found.n_reused_shards == 5
    with pytest.raises(MedReportError, match=r"made with other seed: 0 \(now 1\)"):
        prepare(opened(unread), out, seed=1)
    for other in (lambda: prepare(opened(unread), out, split="80/10/10"),  # may come to the same split, or not
                  lambda: prepare(replace(open_source(root), listing=unread), out)):
        with pytest.raises(AssertionError, match="listed"):
            other()
    change_manifest(out, lambda values: values["details"].pop("listed"))  # as stores were before
    assert prepare(open_source(root), out).already_finished
    with pytest.raises(AssertionError, match="listed"):
        prepare(opened(unread), out)
    table = root / "ptbxl_database.csv"
    table.write_text(table.read_text() + "\n")
    with pytest.raises(MedReportError, match="made with other input"):
        prepare(open_source(root), out)


def test_a_shard_whose_signals_are_gone_is_made_again(tmp_path: Path, fuse: Fuse) -> None:
    source, out = open_source(damaged_root(tmp_path / "root")), tmp_path / "store"
    prepare(source, tmp_path / "whole")
    run_until(fuse, source, out, 14)
    (out / "signals-00000.npy").unlink()
    prepare(source, out)
    assert hashes(out) == hashes(tmp_path / "whole")


def test_shards_without_a_plan_are_not_trusted(tmp_path: Path) -> None:
    source = open_source(damaged_root(tmp_path / "root"))
    prepare(source, tmp_path / "whole")
    partial = tmp_path / "store" / ".partial"
    partial.mkdir(parents=True)
    (partial / "shard-00000.json").write_text('{"rows": [], "quarantine": [], "counts": {}}')
    prepare(source, tmp_path / "store")
    assert hashes(tmp_path / "store") == hashes(tmp_path / "whole")
