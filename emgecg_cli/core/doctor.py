"""`doctor`: what this machine has for the work and what it lacks, each with the command that fixes it.

Nothing is sent and nothing is written. A key is looked for and never shown.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.downloads.sets import SETS, default_root, room_needed
from emgecg_cli.core.llm import KEY_VARIABLE, read_key

PACKAGE = "medreport"
OK, MISSING, WARNING = "ok", "missing", "warning"
EXTRAS_FOR_DEVELOPERS = ("dev",)
LITTLE_RAM, LITTLE_DISK, LITTLE_SHM = 4 * 10**9, 5 * 10**9, 10**9  # bytes
# What an extra is for; one that is not here is shown with the names of its packages alone.
EXTRA_USES = {
    "llm": "asking a model behind an endpoint: --rephraser openai, --translate", "qlora": "--tuning qlora on a GPU",
    "tracking": "--track tensorboard,wandb", "zero": "--parallel zero2 and zero3", "hdf5": "prepare code15",
    "hospital": "MUSE, aECG, Sierra, SCP-ECG, DICOM, EDF and BDF files", "pdf": "report --out FILE.pdf",
    "sentencepiece": "backbones whose tokenizer comes as tokenizer.model", "ray": "prepare --engine ray",
}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True)
class Finding:
    """One thing examined: its `area`, its `name`, a `state` ("ok", "missing", "warning"), what there is, and the
    command or the step that fixes it ("" where nothing is to be done). No command works without what is `vital`."""

    area: str
    name: str
    state: str
    detail: str
    remedy: str = ""
    vital: bool = False


def examine(root: Path) -> list[Finding]:
    """Examine this machine, and `data/` and the disk below `root`; never raises, whatever it finds."""
    findings: list[Finding] = []
    for area, look in (("python", _python), ("machine", _machine), ("disk", lambda: _disk(root)), ("extras", _extras),
                       ("tokens", _tokens), ("data", lambda: _data(root))):
        findings.extend(_guarded(area, look))
    return findings


def is_broken(findings: list[Finding]) -> bool:
    """Whether something is missing that every command needs."""
    return any(finding.vital and finding.state == MISSING for finding in findings)


def _guarded(area: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of one check; a machine that breaks the check is reported like anything else."""
    try:
        yield from look()
    except Exception as error:  # a doctor that falls ill helps nobody
        said = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        yield Finding(area, "look", WARNING, f"could not be finished ({said})")


def _python() -> Iterator[Finding]:
    needed = "".join(importlib.metadata.metadata(PACKAGE).get_all("Requires-Python") or [])
    version = platform.python_version()
    fits = _fits(version, needed)
    yield Finding("python", "Python", OK if fits else MISSING, version if fits else f"{version}, needed is {needed}",
                  "" if fits else f"make an environment with Python {needed}", vital=True)
    wrong = [finding for finding in _packages(None, "python") if finding.state != OK]
    yield from wrong or [Finding("python", "packages", OK, "all that medreport needs are installed", vital=True)]
    try:
        import torch
    except Exception as error:  # a missing library or a wrong wheel shows in many ways
        if not any(finding.name == "torch" for finding in wrong):
            yield Finding("python", "torch", MISSING, f"cannot be imported ({str(error).partition(chr(10))[0][:120]})",
                          "pip install --force-reinstall torch", vital=True)
        return
    yield Finding("python", "torch", OK, str(torch.__version__))


def _packages(extra: str | None, area: str) -> Iterator[Finding]:
    """The packages that medreport, or one of its extras, asks for, against what is installed."""
    for requirement in importlib.metadata.requires(PACKAGE) or []:
        match = _REQUIREMENT.fullmatch(requirement.strip())
        of = _EXTRA.search(requirement)
        if match is None or (of[1] if of else None) != extra:
            continue
        name, wanted = match[1], match[2].strip()
        if name.lower() == PACKAGE:
            continue
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(area, name, MISSING, f"not installed, {wanted or 'any version'} is needed",
                          f"pip install '{name}{wanted}'", vital=extra is None)
            continue
        fits = _fits(there, wanted)
        yield Finding(area, name, OK if fits else WARNING, there if fits else f"{there}, {wanted} is needed",
                      "" if fits else f"pip install '{name}{wanted}'")


def _fits(version: str, wanted: str) -> bool:
    """Whether a version is among those wanted; one that cannot be compared counts as such."""
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(wanted).contains(version, prereleases=True)
    except Exception:  # no packaging, or a version that follows no rule
        return True


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("machine", "processors", OK, f"{cores}")
    yield from _guarded("machine", _memory)
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).total < LITTLE_SHM:
        yield Finding("machine", "shared memory", WARNING, f"{_gigabytes(shutil.disk_usage(shared).total)} at /dev/shm",
                      "start the container with --shm-size=8g, or keep train --workers 0")
    yield _gpu()


def _memory() -> Iterator[Finding]:
    from emgecg_cli.core.models.capacity import available_memory  # here, since it needs a torch that works

    free = available_memory().ram
    enough = free >= LITTLE_RAM
    yield Finding("machine", "memory", OK if enough else WARNING, f"{_gigabytes(free)} free",
                  "" if enough else "close other programs, or use fewer --workers")


def _gpu() -> Finding:
    """The GPUs that torch can use, or why it can use none."""
    try:
        import torch
    except Exception:  # a broken torch can raise anything; what is wrong with it is shown under python
        return Finding("machine", "GPU", WARNING, "cannot be asked for without torch")
    if torch.cuda.is_available():
        cards = [f"{torch.cuda.get_device_name(i)}, {_gigabytes(torch.cuda.get_device_properties(i).total_memory)}"
                 for i in range(torch.cuda.device_count())]
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16: training uses fp16 or fp32"
        return Finding("machine", "GPU", OK, f"{'; '.join(cards)}; {bf16}")
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        return Finding("machine", "GPU", WARNING, f"there is one, but torch {torch.__version__} cannot use it",
                       "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128, or "
                       "update the driver")
    mps = getattr(torch.backends, "mps", None)
    if mps is not None and mps.is_available():
        return Finding("machine", "GPU", OK, "Apple's, through mps")
    return Finding("machine", "GPU", WARNING, "none: fine for prepare, score and --backbone tiny; slow for larger "
                   "backbones", "use a machine with an NVIDIA GPU for backbones from 1B parameters on")


def _disk(root: Path) -> Iterator[Finding]:
    free, place = _free(root), root.as_posix()
    enough, writable = free >= LITTLE_DISK, os.access(_existing(root), os.W_OK)
    yield Finding("disk", place, OK if enough and writable else WARNING,
                  f"{_gigabytes(free)} free{'' if writable else ', but it may not be written'}",
                  "" if enough and writable else "free some space, or work in another folder")
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    if _existing(hub).stat().st_dev != _existing(root).stat().st_dev:
        yield Finding("disk", hub.as_posix(), OK if _free(hub) >= LITTLE_DISK else WARNING,
                      f"{_gigabytes(_free(hub))} free for backbones of the hub",
                      "" if _free(hub) >= LITTLE_DISK else "set HF_HOME to a folder on a larger disk")


def _gigabytes(size: int) -> str:
    return f"{size / 10**9:.1f} GB"


def _free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _extras() -> Iterator[Finding]:
    """Every optional extra of the installed package, as its own metadata lists them."""
    for extra in importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []:
        if extra in EXTRAS_FOR_DEVELOPERS:
            continue
        packages = list(_packages(extra, "extras"))
        lacking = [f"{one.name} ({one.detail})" for one in packages if one.state != OK]
        state = OK if not lacking else MISSING if any(one.state == MISSING for one in packages) else WARNING
        what = ", ".join(lacking) or ", ".join(f"{one.name} {one.detail}" for one in packages)
        use = EXTRA_USES.get(extra)
        yield Finding("extras", extra, state, f"{what}; for {use}" if use else what,
                      "" if not lacking else f"pip install '{PACKAGE}[{extra}]'")


def _tokens() -> Iterator[Finding]:
    from huggingface_hub import get_token

    has = get_token() is not None
    yield Finding("tokens", "Hugging Face", OK if has else MISSING,
                  "present" if has else "none: gated backbones and private data cannot be had",
                  "" if has else "hf auth login")
    try:
        read_key()
        yield Finding("tokens", KEY_VARIABLE, OK, "present")
    except Exception as error:
        # The error says what is wrong with a key without showing it.
        yield Finding("tokens", KEY_VARIABLE, MISSING, f"{error}; needed to ask a model behind an endpoint",
                      f"export {KEY_VARIABLE}=…")


def _data(root: Path) -> Iterator[Finding]:
    """The root of each dataset that is read from disk, where the commands look for it."""
    free = _free(root)
    for dataset, chosen in SETS.items():
        place = root / default_root(dataset)
        shown = default_root(dataset)
        found = [name for name in chosen.shows if (place / name).exists()]
        if found:
            yield Finding("data", dataset, OK, f"{shown}: {_holds(place)}")
            continue
        least, most = room_needed(chosen, None), room_needed(chosen, max((fs for fs, _ in chosen.by_fs), default=None))
        room = _gigabytes(least) if least == most else f"{_gigabytes(least)} to {_gigabytes(most)}"
        there = "holds none of it" if place.is_dir() else "not there"
        fits = least <= free
        known = dataset in names.DATASETS
        command = f"{PACKAGE} prepare {dataset} --download" if known else "not read by this version yet"
        yield Finding("data", dataset, MISSING, f"{shown} {there}; about {room} to download, {_gigabytes(free)} free",
                      command if fits else f"free {_gigabytes(least - free)}, then {command}; or give --root on a "
                                           "larger disk")


def _holds(place: Path) -> str:
    entries: list[str] = []
    with os.scandir(place) as there:
        for entry in there:
            if not entry.name.startswith("."):
                entries.append(entry.name + ("/" if entry.is_dir() else ""))
            if len(entries) > 200:
                break
    entries.sort()
    return ", ".join(entries[:5]) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")


def facts() -> dict[str, Any]:
    """Versions that a report of a bug should name."""
    return {"medreport": importlib.metadata.version(PACKAGE), "python": sys.version.split()[0],
            "platform": platform.platform(terse=True)}
