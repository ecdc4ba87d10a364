"""`prepare --download`: fetch a set, or what is missing of it, into its root."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from emgecg_cli.core.downloads.archives import unpack
from emgecg_cli.core.downloads.ledger import NAME as LEDGER
from emgecg_cli.core.downloads.ledger import Ledger
from emgecg_cli.core.downloads.lists import Entry, iterate_sums, read_record
from emgecg_cli.core.downloads.places import check_place, digest_of, disk_errors, part_of
from emgecg_cli.core.downloads.sets import OpenSet, check_mirror, open_set, room_needed, wanted_names
from emgecg_cli.core.downloads.transfer import (
    Fault,
    Patience,
    Site,
    connect,
    fetch,
    receive,
)
from emgecg_cli.core.errors import MedReportError

SUMS, RECORD = "SHA256SUMS.txt", "zenodo-record.json"
_Brought = tuple[bool, Fault | None]
MOST_FAULTS = 20
LARGEST_LIST = 1 << 30  # bytes; that of MIMIC-IV-ECG has 180 MB
LARGEST_FILE = 4  # times what the whole set takes on disk, where a list does not say how large a file is
SECONDS_BETWEEN_REPORTS = 0.2


class Progress(Protocol):
    """What is called while files come in: how many are there, of how many, and what else is worth saying."""

    def __call__(self, done: int, total: int, **fields: object) -> None:
        """Report `done` of `total`; `received` is the number of bytes so far, in words."""


@dataclass(frozen=True)
class DownloadResult:
    """What lies in the root now: `files` in all, `fetched` of them by this call (`bytes` received), the others kept."""

    dataset: str
    root: Path
    files: int
    fetched: int
    kept: int
    bytes: int


@dataclass
class _Tally:
    total: int
    fetched: int = 0
    kept: int = 0
    faults: list[Fault] = field(default_factory=list)


def download(dataset: str, root: Path, *, fs: int | None = None, base_url: str | None = None, connections: int = 8,
             progress: Progress | None = None, patience: Patience | None = None) -> DownloadResult:
    """Fetch an open set into `root`: every file that is not there yet, each checked against the set's own checksums.

    `fs` (Hz, None: 100) chooses among rates where a set comes at several. `base_url` stands for the address of the
    folder that holds SHA256SUMS.txt, of the Zenodo record, or of the hub. Killed at any moment and called again, it
    goes on; what was verified before is neither fetched nor hashed again. A file of that name that is not in the list's
    bytes is replaced. Archives are removed when they are unpacked. Raises MedReportError when a file cannot be had;
    the others are fetched first, unless the server or the disk fails for all.
    """
    chosen = open_set(dataset)
    base = check_mirror(base_url or chosen.base)
    patience = patience or Patience()
    if connections < 1:
        raise MedReportError(f"connections {connections}: too few", "at least 1")
    with disk_errors(root), ExitStack() as stack:
        root.mkdir(parents=True, exist_ok=True)
        check_place(root, root / LEDGER)
        ledger = Ledger(root)
        stack.callback(ledger.close)
        if base_url is None and ledger.is_new:
            _check_room(root, room_needed(chosen, fs), dataset)
        if chosen.site == "hub":
            from emgecg_cli.core.downloads.hub import fetch_repositories

            files, fetched, received = fetch_repositories(chosen.wanted, base, root, ledger, progress)
            return DownloadResult(dataset, root, files, fetched, files - fetched, received)
        site = stack.enter_context(connect(base, connections, patience))
        entries, total = _listing(site, root, ledger, chosen, fs)
        if not total:
            raise MedReportError(f"{site.base}: its list holds no file of {dataset}", "check --mirror")
        tally = _Tally(total)
        largest = LARGEST_FILE * room_needed(chosen, fs)
        # Zenodo's parts are few and large: two at a time keep the archives that wait to be unpacked few.
        at_once = min(connections, 2) if chosen.site == "zenodo" else connections
        _bring_all(site, entries, root, ledger, tally, largest, at_once, progress)
        _refuse(tally, dataset)
        return DownloadResult(dataset, root, total, tally.fetched, tally.kept, site.received)


def _check_room(root: Path, needed: int, dataset: str) -> None:
    """Refuse to begin what cannot end; what a mirror holds may be a part of the set, and is not judged."""
    free = shutil.disk_usage(root).free
    if free < needed:
        raise MedReportError(f"{root}: {dataset} takes about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                             "free some space, or give --root DIR on a larger disk")


def _listing(site: Site, root: Path, ledger: Ledger, chosen: OpenSet,
             fs: int | None) -> tuple[Iterator[Entry], int]:
    """The files to fetch, streamed, and their number; the whole list is checked before the first of them."""
    if chosen.site == "zenodo":
        _fetch_list(site, "", root / RECORD, ledger)
        entries = read_record(root / RECORD)
        return iter(entries), len(entries)
    _fetch_list(site, SUMS, root / SUMS, ledger)
    wanted = wanted_names(chosen, fs)
    total = sum(1 for _ in iterate_sums(root / SUMS, wanted, chosen.inside))
    return iterate_sums(root / SUMS, wanted, chosen.inside), total


def _fetch_list(site: Site, address: str, target: Path, ledger: Ledger) -> None:
    """Fetch the list itself, which no checksum covers; one that has not changed on the server is not sent again."""
    checksum, tag = ledger.tags.get(target.name, ("", ""))
    known = tag if tag and ledger.knows(target.name, checksum) else None
    part = part_of(target)
    check_place(target.parent, target)
    part.unlink(missing_ok=True)
    received = receive(site, address, part, "sha256", LARGEST_LIST, checked=False, known_tag=known)
    if isinstance(received, Fault):
        part.unlink(missing_ok=True)
        raise MedReportError(received.message, received.hint)
    if received.unchanged:
        part.unlink()
        return
    part.replace(target)
    if received.tag:
        ledger.add_tag(target.name, f"sha256:{received.digest}", received.tag)


def _bring_all(site: Site, entries: Iterator[Entry], root: Path, ledger: Ledger, tally: _Tally, largest: int,
               connections: int, progress: Progress | None) -> None:
    """Fetch the files over several connections, a bounded number of them at a time."""
    in_hand: dict[Future[_Brought], str] = {}
    last = time.monotonic()
    pool = ThreadPoolExecutor(connections)
    try:
        for entry in entries:
            if _is_known(ledger, entry) or entry.name in in_hand.values():
                tally.kept += 1
            else:
                in_hand[pool.submit(_bring, site, entry, root, ledger, largest)] = entry.name
                if len(in_hand) >= 4 * connections:
                    _settle(in_hand, tally, site, progress)
            if progress is not None and time.monotonic() - last > SECONDS_BETWEEN_REPORTS:
                last = time.monotonic()
                _report(progress, tally, site)
        while in_hand:
            _settle(in_hand, tally, site, progress)
        if progress is not None:
            _report(progress, tally, site)
    finally:
        site.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _is_known(ledger: Ledger, entry: Entry) -> bool:
    return (ledger.knows_unpacked if is_archive(entry) else ledger.knows)(entry.name, entry.checksum)


def _settle(in_hand: dict[Future[_Brought], str], tally: _Tally, site: Site, progress: Progress | None) -> None:
    """Wait until at least one file is done, and count what is."""
    done: set[Future[_Brought]] = set()
    while not done:
        done, _ = wait(in_hand, timeout=SECONDS_BETWEEN_REPORTS, return_when=FIRST_COMPLETED)
        if progress is not None and not done:
            _report(progress, tally, site)
    for future in done:
        del in_hand[future]
        fetched, fault = future.result()
        if fault is not None:
            tally.faults.append(fault)
        elif fetched:
            tally.fetched += 1
        else:
            tally.kept += 1
    if len(tally.faults) >= MOST_FAULTS:
        _refuse(tally, "the set")


def _bring(site: Site, entry: Entry, root: Path, ledger: Ledger, largest: int) -> _Brought:
    """Whether a file had to be fetched, and why it could not be."""
    target = root / entry.name
    algorithm, _, expected = entry.checksum.partition(":")
    with disk_errors(target):
        check_place(root, target)
        there = ledger.knows(entry.name, entry.checksum) or (
            target.is_file() and digest_of(target, algorithm) == expected)
        if not there:
            fault = fetch(site, entry.address, target, entry.checksum, largest if entry.size is None else entry.size)
            if fault is not None:
                return True, fault
        ledger.add(entry.name, entry.checksum)
        if is_archive(entry):
            members = unpack(target, root)
            ledger.add_unpacked(entry.name, entry.checksum, members)
            target.unlink()
    return not there, None


def is_archive(entry: Entry) -> bool:
    """Whether a file is unpacked and then removed: Zenodo's zipped parts."""
    return entry.checksum.startswith("md5:") and entry.name.lower().endswith(".zip")


def _report(progress: Progress, tally: _Tally, site: Site) -> None:
    progress(tally.fetched + tally.kept, tally.total, received=f"{site.received / 1e9:.3f} GB")


def _refuse(tally: _Tally, dataset: str) -> None:
    if tally.faults:
        more = f" (and {len(tally.faults) - 1} more files of {dataset})" if len(tally.faults) > 1 else ""
        raise MedReportError(tally.faults[0].message + more, tally.faults[0].hint)
