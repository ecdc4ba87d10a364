"""Unfinished artefacts: whose they are, and that only one process makes one at a time.

While an artefact is made, a plan lies in it (or beside it, if it is a single file): the resolved arguments, inputs,
package versions and device it depends on. The same plan goes on; another one is refused, with what differs.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import write_atomically
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, check_files, hashes_of, is_single_file, manifest_path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_held_here: set[int] = set()


def _let_go_in_child() -> None:
    """A forked loader worker must not keep a lock alive that its killed parent held."""
    for descriptor in _held_here:
        os.close(descriptor)
    _held_here.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


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
        """Take the plan away; the manifest is there now."""
        mark_path(self.artefact).unlink(missing_ok=True)


def mark_path(artefact: Path) -> Path:
    """`DIR/plan.json` in a folder; `NAME.jsonl.plan.json` beside a single file."""
    return artefact.with_name(f"{artefact.name}.plan.json") if is_single_file(artefact) else artefact / "plan.json"


def sweep(artefact: Path) -> None:
    """Remove what a process killed between its manifest and its last step leaves of a finished artefact's claim."""
    mark = mark_path(artefact)
    for left in (mark, mark.with_name(_lock_name(mark))):
        if left.exists():
            left.unlink()


def confirm_finished(artefact: Path, manifest: Manifest, plan: Mapping[str, Any]) -> None:
    """Raise MedReportError unless a finished artefact was made by this plan and is unchanged; clear what a kill left.

    For artefacts whose manifest names a machine: runs and predictions.
    """
    before = {"settings": manifest.arguments, "inputs": hashes_of(manifest.inputs),
              "machine": manifest.details["machine"]}
    now = {section: plan[section] for section in before}
    if before != now:
        raise MedReportError(f"{artefact}: finished, and made with other {difference(before, now)}",
                             "give another --out, or remove it")
    check_files(artefact, manifest)
    sweep(artefact)


@contextmanager
def claim(artefact: Path, plan: Mapping[str, Any], own: Collection[str] = (), replaces: bool = False) \
        -> Iterator[Claim]:
    """Hold an unfinished artefact for this process; `plan` maps sections to what the artefact depends on.

    `own` are names in a folder that may be there without a plan; `replaces` allows an artefact that is there already.
    Raises MedReportError when another process holds it, when it was begun with another plan, or when something else
    lies there.
    """
    now = json.loads(json.dumps(plan))
    mark = mark_path(artefact)
    if artefact.is_file() and not (replaces or mark.is_file()):
        raise MedReportError(f"{artefact}: a file that this command did not make", "give another --out")
    with _locked(artefact, mark):
        resuming = mark.is_file()
        if resuming:
            started = _read_plan(artefact, mark)
            if started != now:
                raise MedReportError(f"{artefact}: unfinished, and begun with other {difference(started, now)}",
                                     "repeat the first command to finish it, give another --out, or remove it")
        elif artefact.is_dir():
            allowed = {f".{mark.name}.tmp", _lock_name(mark), *own}
            if any(entry.name not in allowed for entry in artefact.iterdir()):
                raise MedReportError(f"{artefact}: not empty, and not made by this command", "give another --out")
        yield Claim(artefact, now, resuming)


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
def _locked(artefact: Path, mark: Path) -> Iterator[None]:
    made_here = not mark.parent.exists()
    lock = mark.with_name(_lock_name(mark))
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise MedReportError(f"{artefact}: cannot be made ({error.strerror})", "give another --out") from None
    _held_here.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:  # some network file systems have none; all else about a claim holds there
                raise _held(artefact) from None
        if not lock.exists() or not os.path.samestat(os.fstat(descriptor), lock.stat()):
            raise _held(artefact)  # opened just before its last holder removed it, so it locks nothing
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            if made_here and not any(mark.parent.iterdir()):
                mark.parent.rmdir()
    finally:
        _held_here.discard(descriptor)
        os.close(descriptor)
