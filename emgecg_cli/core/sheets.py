"""The records of a store as pages of ECG paper, one PNG each, clean or as scans and photographs of paper look.

A page is its record's and its settings' alone, so that a killed command goes on where it stopped, and pages are the
same whatever the number of processes that draw them.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import SPLITS, RecordRow
from emgecg_cli.core.claims import claim, sweep
from emgecg_cli.core.engines import run_tasks
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.json_lines import write_rows
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    check_folder_name,
    file_hashes,
    hashes_of,
    input_of,
    is_finished,
    package_versions,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.signals.paper.geometry import LAYOUTS
from emgecg_cli.core.signals.paper.png import page_png
from emgecg_cli.core.signals.paper.sheet import GAIN, lay_out_sheet, render_page
from emgecg_cli.core.store import Engine, Store, open_store

ROWS = "pages.jsonl"
_IN_A_FOLDER = 1000


@dataclass(frozen=True)
class SheetSettings:
    """How pages are drawn: see `render_page`. With a `header` they name their record and its person's age and sex."""

    layout: str = "3x4"
    dpi: int = 200
    gain: float = GAIN
    header: bool = False
    distortions: tuple[str, ...] = ()
    seed: int = 0

    def check(self) -> None:
        """Raise MedReportError for a layout or a distortion that there is not, and for a scale that draws nothing."""
        if self.layout not in LAYOUTS:
            raise MedReportError(f"no layout '{self.layout}'", f"available: {', '.join(LAYOUTS)}")
        if self.gain <= 0 or self.dpi < 1:
            raise MedReportError(f"{self.gain:g} mm/mV at {self.dpi} dpi draws nothing", "give positive numbers")
        for name in self.distortions:
            names.check("distortion", name)


@dataclass(frozen=True)
class SheetRow:
    """One page: its record, the split of that, and where the image lies in the folder."""

    record_id: str
    split: str
    file: str


@dataclass(frozen=True)
class SheetResult:
    """Finished pages; `already_finished` where nothing was left to draw."""

    path: Path
    manifest: Manifest
    already_finished: bool


def draw_store(store_path: Path, out: Path, settings: SheetSettings, *, split: str | None = None,
               engine: Engine | None = None, progress: Callable[[int, int], None] | None = None) -> SheetResult:
    """Write a page of every record of a store (of one `split`) into the folder `out`: images, `pages.jsonl` that says
    whose they are, and a manifest; or say that they are finished already.

    Raises MedReportError for settings that draw nothing, a store without signals, and where `out` holds something else.
    """
    settings.check()
    store, engine = open_store(store_path), engine or Engine()
    store.check_has_signals()
    check_folder_name(out)
    arguments = asdict(settings) | {"distortions": list(settings.distortions), "split": split}
    inputs = {"store": input_of(store_path, out)}
    if is_finished(out):
        return SheetResult(out, _finished_before(out, arguments, inputs), True)
    indices = [int(i) for i in store.indices(split)]
    if not indices:
        raise MedReportError(f"{store_path}: no record of split '{split}'", f"splits are {', '.join(SPLITS)}")
    rows = [SheetRow(record_id, of, file) for record_id, of, file in zip(
        store.column("record_id").gather(indices), store.column("split").gather(indices), _files(store, indices),
        strict=True)]
    plan = {"settings": arguments, "inputs": hashes_of(inputs), "versions": package_versions()}
    with claim(out, plan) as claimed:
        claimed.begin()
        try:
            _draw(store, out, settings, list(zip(indices, rows, strict=True)), engine, progress)
            write_rows(out / ROWS, rows)
            write_manifest(out, Manifest(
                kind="pages", command="pages", arguments=arguments, seed=settings.seed, inputs=inputs,
                counts={"records": len(rows)},
                details={"files": file_hashes(out, [ROWS, *(row.file for row in rows)])}))
        except OSError as error:
            raise MedReportError(f"{out}: cannot be written ({error.strerror or error})",
                                 "free or mend the disk and repeat the command: it goes on where it stopped") from None
        claimed.finish()
    return SheetResult(out, read_manifest(out, "pages"), False)


def _finished_before(out: Path, arguments: dict[str, Any], inputs: dict[str, dict[str, str]]) -> Manifest:
    manifest = read_manifest(out, "pages", made_by="pages")
    hint = "choose another --out, or remove the folder to make it anew"
    changed = [f"{key} {manifest.arguments.get(key)} (now {arguments[key]})" for key in arguments
               if manifest.arguments.get(key) != arguments[key]]
    if changed:
        raise MedReportError(f"{out}: finished pages, made with {', '.join(changed)}", hint)
    if hashes_of(manifest.inputs) != hashes_of(inputs):
        raise MedReportError(f"{out}: finished pages, made from another store", hint)
    check_files(out, manifest)
    sweep(out)
    return manifest


def _files(store: Store, indices: Sequence[int]) -> Iterator[str]:
    """The name of each image: its record's id as far as it can be part of one, and unlike all others."""
    seen: set[str] = set()
    for record_id, index in zip(store.column("record_id").gather(list(indices)), indices, strict=True):
        name = re.sub(r"[^A-Za-z0-9._-]", "_", record_id)[:100].lstrip(".") or "_"
        if name.lower() in seen or name != record_id:
            name = f"{name}-{index}"
        seen.add(name.lower())
        yield f"images/{index // _IN_A_FOLDER:03d}/{name}.png"


def _draw(store: Store, out: Path, settings: SheetSettings, wanted: Sequence[tuple[int, SheetRow]], engine: Engine,
          progress: Callable[[int, int], None] | None) -> None:
    """Draw what is not there yet."""
    for folder in sorted({(out / row.file).parent for _, row in wanted}):
        folder.mkdir(parents=True, exist_ok=True)
    missing = [(index, row.file) for index, row in wanted if not (out / row.file).is_file()]
    done = len(wanted) - len(missing)
    if progress:
        progress(done, len(wanted))
    for _ in run_tasks(engine.name, partial(_draw_one, store, out, settings), missing, engine.workers, len(missing)):
        done += 1
        if progress:
            progress(done, len(wanted))


def _draw_one(store: Store, out: Path, settings: SheetSettings, task: tuple[int, str]) -> int:
    index, file = task
    write_atomically(out / file, sheet_png(store, index, settings))
    return index


def sheet_png(store: Store, index: int, settings: SheetSettings) -> bytes:
    """The page of a record as a PNG file that says its resolution."""
    row = store.row(index)
    signal = store.signal(index)[:, :row.sig_len - row.n_padded]
    header = _header(row) if settings.header else ()
    if not settings.distortions:
        return page_png(lay_out_sheet(signal, row.fs, layout=settings.layout, gain=settings.gain, header=header),
                        settings.dpi)
    seed = (settings.seed << 32) + zlib.crc32(row.record_id.encode())  # of the record alone, wherever it stands
    given = {one.name: getattr(settings, one.name) for one in fields(settings)} | {"header": header, "seed": seed}
    stream = io.BytesIO()
    Image.fromarray(render_page(signal, row.fs, **given)).save(stream, "PNG", dpi=(settings.dpi, settings.dpi),
                                                               compress_level=1)  # noise is not made smaller by more
    return stream.getvalue()


def _header(row: RecordRow) -> tuple[str, ...]:
    person = ", ".join(filter(None, (f"{row.age:g} years" if row.age is not None else "",
                                     {"F": "woman", "M": "man"}.get(row.sex or "", row.sex or ""))))
    return tuple(filter(None, (f"Record {row.record_id}", person)))
