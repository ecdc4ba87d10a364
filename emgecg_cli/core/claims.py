"""Unfinished artefacts: what they belong to, and who may write them.

While an artefact is made, a plan lies in it (or beside it, if it is a single file): the resolved arguments, inputs,
package versions and device it depends on. The same plan resumes; another one is refused, with what differs.

One process makes an artefact at a time, or several writers share a single file: each appends to a part of its own
beside it, and one process alone puts the parts together when they have ended.
"""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.locks import ALONE, TOGETHER, close, closing, is_still, open_descriptor, try_lock
from emgecg_cli.core.manifest import Manifest, check_files, hashes_of, is_finished, is_single_file, manifest_path

PATIENCE = 5.0  # seconds a writer waits for another one that is just starting or ending

@dataclass(frozen=True)
class Claim:
    """A claim on an artefact: `resuming` tells whether it was begun before."""

    artefact: Path
    plan: dict[str, Any]
    resuming: bool

    def begin(self) -> None:
        """Write the plan, once all that could be refused has been checked; what was there is not finished any more."""
        if not self.resuming:
            text = json.dumps(self.plan, indent=2, ensure_ascii=False) + "\n"
            write_atomically(mark_path(self.artefact), text.encode())
        manifest_path(self.artefact).unlink(missing_ok=True)

    def finish(self) -> None:
        """Take the parts of several writers and the plan away; the manifest is there now."""
        for left in (*_beside(self.artefact), mark_path(self.artefact)):
            left.unlink(missing_ok=True)


def mark_path(artefact: Path) -> Path:
    """`DIR/plan.json` in a folder; `NAME.jsonl.plan.json` beside a single file."""
    return artefact.with_name(f"{artefact.name}.plan.json") if is_single_file(artefact) else artefact / "plan.json"


def part_path(artefact: Path, writer: int, writers: int) -> Path:
    """What one of several writers (1 … writers) appends to, beside a single file: `NAME.jsonl.part-R-of-W`."""
    return artefact.with_name(f"{artefact.name}.part-{writer}-of-{writers}")


def part_paths(artefact: Path) -> list[Path]:
    """The parts that lie beside a single file, whatever number of writers they are of."""
    if not is_single_file(artefact):
        return []
    return sorted(artefact.parent.glob(f"{glob.escape(artefact.name)}.part-*-of-*"))


def sums_path(path: Path) -> Path:
    """Where hashes of what a file holds so far lie, while it is appended to: `.NAME.jsonl.sums`."""
    return path.with_name(f".{path.name}.sums")


def _beside(artefact: Path) -> list[Path]:
    """All that may lie beside an unfinished single file, but its plan: the parts, and the hashes of file and parts."""
    parts = part_paths(artefact)
    return [*map(sums_path, (artefact, *parts)), *parts] if is_single_file(artefact) else []


def sweep(artefact: Path) -> None:
    """Remove what a process killed between its manifest and its last step leaves of a finished artefact's claim."""
    mark = mark_path(artefact)
    for left in (*_beside(artefact), mark, mark.with_name(_lock_name(mark))):
        if left.exists():
            left.unlink(missing_ok=True)


def confirm_finished(artefact: Path, manifest: Manifest, plan: Mapping[str, Any]) -> None:
    """Raise MedReportError unless a finished artefact was made by this plan and is unchanged; clear what a kill left.

    For artefacts whose manifest names a machine: runs and predictions.
    """
    now = {section: plan[section] for section in ("settings", "inputs", "machine")}
    before = {"settings": {key: value for key, value in manifest.arguments.items() if key in now["settings"]},
              "inputs": hashes_of(manifest.inputs), "machine": manifest.details["machine"]}
    if before != now:
        raise MedReportError(f"{artefact}: finished, and made with other {difference(before, now)}",
                             "give another --out, or remove it")
    check_files(artefact, manifest)
    sweep(artefact)


@contextmanager
def claim(artefact: Path, plan: Mapping[str, Any], own: Collection[str] = (), replaces: bool = False) \
        -> Iterator[Claim]:
    """Hold an unfinished artefact for this process alone; `plan` maps sections to what the artefact depends on.

    `own` are names in a folder that may be there without a plan; `replaces` allows an artefact that is there already.
    Raises MedReportError when another process holds it, when it was begun with another plan, or when something else
    lies there.
    """
    mark = mark_path(artefact)
    check_place(artefact, replaces)
    with _place_for(artefact, mark) as lock, closing(_lock_alone(artefact, lock)):
        try:
            yield _checked(artefact, plan, own)
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def claim_part(artefact: Path, plan: Mapping[str, Any], writer: int, writers: int) -> Iterator[IO[bytes] | None]:
    """Hold a single file together with other writers of the same plan, and one part of it for this process alone.

    The plan is written by the first of them. Gives the part, open to be read and appended to, or None when the file
    has been finished. Raises MedReportError as `claim` does, when a process holds the file for itself, and when
    another one writes the same part.
    """
    mark = mark_path(artefact)
    with _place_for(artefact, mark) as lock, closing(_lock_together(artefact, lock, plan)) as descriptor:
        try:
            if is_finished(artefact):
                yield None
            else:
                with _locked_part(artefact, part_path(artefact, writer, writers)) as part:
                    yield part
        finally:
            if try_lock(descriptor, ALONE, unsure=False):  # the last of them
                lock.unlink(missing_ok=True)


@contextmanager
def _locked_part(artefact: Path, path: Path) -> Iterator[IO[bytes]]:
    with closing(_open(artefact, path)) as descriptor:
        if not try_lock(descriptor, ALONE):
            raise MedReportError(f"{path}: another process is writing this part",
                                 "give every writer a number of its own: --writer 1/2, --writer 2/2")
        with open(descriptor, "ab+", closefd=False) as part:
            yield part


def check_place(artefact: Path, replaces: bool = False) -> None:
    """Raise MedReportError when a single file is there that no unfinished work of ours explains."""
    for there in (artefact, *part_paths(artefact)):
        if there.is_file() and not (replaces or mark_path(artefact).is_file()):
            raise MedReportError(f"{there}: a file that this command did not make", "give another --out")


def check_plan(artefact: Path, plan: Mapping[str, Any]) -> bool:
    """Whether the artefact was begun with this plan; raises MedReportError when it was with another one.

    A plan under which nothing of a single file has been written yet is not binding.
    """
    mark, now = mark_path(artefact), _plain(plan)
    if not mark.is_file():
        return False
    started = _read_plan(artefact, mark)
    if started == now:
        return True
    if is_single_file(artefact) and not any(path.is_file() and path.stat().st_size
                                            for path in (artefact, *part_paths(artefact))):
        return False
    raise MedReportError(f"{artefact}: unfinished, and begun with other {difference(started, now)}",
                         "repeat the first command to finish it, give another --out, or remove "
                         + (f"{artefact}*" if is_single_file(artefact) else "it"))


def _checked(artefact: Path, plan: Mapping[str, Any], own: Collection[str] = ()) -> Claim:
    """A claim on what has been locked, if its plan and what lies there allow it."""
    mark = mark_path(artefact)
    resuming = check_plan(artefact, plan)
    if not resuming and artefact.is_dir():
        allowed = {f".{mark.name}.tmp", _lock_name(mark), *own}
        if any(entry.name not in allowed for entry in artefact.iterdir()):
            raise MedReportError(f"{artefact}: not empty, and not made by this command", "give another --out")
    return Claim(artefact, _plain(plan), resuming)


def _plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan as it is read back from its file."""
    return json.loads(json.dumps(plan))


def _read_plan(artefact: Path, mark: Path) -> dict[str, Any]:
    try:
        plan = json.loads(mark.read_bytes())
    except ValueError:
        plan = None
    if not isinstance(plan, dict):
        raise MedReportError(f"{artefact}: {mark.name} is not a plan that medreport wrote", "give another --out")
    return plan


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two plans, or two sections of them: "steps: 9 (now 10), …"."""
    changed = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        nested = isinstance(old, Mapping) and isinstance(new, Mapping)
        changed.append(difference(old, new) if nested else f"{key}: {_short(old)} (now {_short(new)})")  # type: ignore[arg-type]
    return ", ".join(changed)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}…"


def _held(artefact: Path) -> MedReportError:
    return MedReportError(f"{artefact}: another process is writing it", "wait for it, or stop it")


def _lock_name(mark: Path) -> str:
    return f".{mark.name}.lock"


@contextmanager
def _place_for(artefact: Path, mark: Path) -> Iterator[Path]:
    """Make the folder a claim lies in and give the path of its lock; remove the folder again if it stays empty."""
    made_here = not mark.parent.exists()
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_made(artefact, error) from None
    try:
        yield mark.with_name(_lock_name(mark))
    finally:
        if made_here and mark.parent.is_dir() and not any(mark.parent.iterdir()):
            mark.parent.rmdir()


def _lock_alone(artefact: Path, lock: Path) -> int:
    """Lock for this process alone; returns the descriptor."""
    while True:
        descriptor = _open(artefact, lock)
        if not try_lock(descriptor, ALONE):
            close(descriptor)
            raise _held(artefact)
        if is_still(descriptor, lock):
            return descriptor
        close(descriptor)


def _lock_together(artefact: Path, lock: Path, plan: Mapping[str, Any]) -> int:
    """Lock beside other writers; returns the descriptor. Whoever comes first is alone for a moment and begins."""
    deadline = time.monotonic() + PATIENCE
    while True:
        descriptor = _open(artefact, lock)
        locked = False
        try:
            if try_lock(descriptor, ALONE) and is_still(descriptor, lock) and not is_finished(artefact):
                _begin_alone(artefact, lock, plan)
            # From alone to together is two steps for the system, and another process may come between them.
            locked = try_lock(descriptor, TOGETHER) and is_still(descriptor, lock) \
                and (is_finished(artefact) or check_plan(artefact, plan))
        finally:
            if not locked:
                close(descriptor)
        if locked:
            return descriptor
        if time.monotonic() > deadline:
            raise _held(artefact)
        time.sleep(0.02)


def _begin_alone(artefact: Path, lock: Path, plan: Mapping[str, Any]) -> None:
    """Begin for all writers that come; the lock of what is refused is taken away."""
    try:
        check_place(artefact)
        with suppress(FileNotFoundError):  # where there are no locks, another writer may have moved the plan into place
            _checked(artefact, plan).begin()
    except MedReportError:
        lock.unlink(missing_ok=True)
        raise


def _open(artefact: Path, path: Path) -> int:
    try:
        return open_descriptor(path)
    except OSError as error:
        raise _cannot_be_made(artefact, error) from None


def _cannot_be_made(artefact: Path, error: OSError) -> MedReportError:
    return MedReportError(f"{artefact}: cannot be made ({error.strerror})", "give another --out")
