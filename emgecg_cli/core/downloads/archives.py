"""Unpack a verified zip: only into the root, only plain files, and no more bytes than it announces."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from emgecg_cli.core.downloads.lists import check_name
from emgecg_cli.core.downloads.places import check_place, disk_errors, part_of
from emgecg_cli.core.errors import MedReportError

LARGEST_RATIO = 200  # of unpacked to packed bytes; zero-padded recordings reach about 10
CHUNK = 1 << 20


def unpack(archive: Path, root: Path) -> list[str]:
    """Unpack into `root` and return the names of the files, each written under its name when it is whole.

    Their lengths and CRC-32 are checked. Raises MedReportError for an archive that is damaged, holds a path out of the
    root, a link, the same name twice or a bomb, and when the disk has no room for it.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [one for one in packed.infolist() if not one.is_dir()]
            _check(archive, root, members)
            for member in members:
                check_place(root, root / member.filename)
                _write(packed, member, root / member.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise MedReportError(f"{archive}: cannot be unpacked ({error})",
                             "remove the file and run the same command again") from None
    return [member.filename for member in members]


def _check(archive: Path, root: Path, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        check_name(member.filename, archive.name)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise MedReportError(f"{archive}: {member.filename[:80]!r} is a link or a device",
                                 "nothing was unpacked; do not use this source")
        if member.file_size > LARGEST_RATIO * max(member.compress_size, 1024):
            raise MedReportError(f"{archive}: {member.filename[:80]!r} would unpack to {member.file_size} bytes from "
                                 f"{member.compress_size}", "nothing was unpacked; do not use this source")
    names = {member.filename.casefold() for member in members}
    if not members or len(names) < len(members) or archive.name.casefold() in names:
        raise MedReportError(f"{archive}: holds no file, or the same name twice", "do not use this source")
    with disk_errors(archive):
        free = shutil.disk_usage(root).free
    needed = sum(member.file_size for member in members)
    if needed > free:
        raise MedReportError(f"{archive}: unpacks to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free at {root}",
                             "free some space, then run the same command again")


def _write(packed: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    part, written = part_of(target), 0
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with packed.open(member) as source, part.open("wb") as stream:
            while block := source.read(CHUNK):
                written += len(block)
                if written > member.file_size:
                    break
                stream.write(block)
        if written != member.file_size:
            part.unlink()
            raise zipfile.BadZipFile(f"{member.filename}: not as long as announced")
        part.replace(target)
