"""`medreport pages`: the records of a store on ECG paper, one image each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import JsonOpt, SeedOpt, SplitOpt, StoreArg, complete, find_one, words
from emgecg_cli.core import config, names

LayoutOpt = Annotated[str, typer.Option("--layout", metavar="3x4|6x2|12x1", help="Rows and columns; 3x4 has a rhythm "
                                        "strip of lead II.", autocompletion=words("3x4", "6x2", "12x1"))]
DpiOpt = Annotated[int, typer.Option("--dpi", min=50, max=600, help="Pixels per inch: 200 makes pages of 2200 × 1700.")]
GainOpt = Annotated[float, typer.Option("--gain", metavar="MM/MV", min=0.5, max=40,
                                        help="Millimetres per millivolt.")]
HeaderOpt = Annotated[bool, typer.Option("--header", help="Write the record's id, age and sex on its page.")]
DistortOpt = Annotated[str, typer.Option("--distort", metavar="NAME[,NAME…]|all", autocompletion=complete("distortion"),
                                         show_default=False,
                                         help=f"What happens to the paper: {', '.join(names.choices('distortion'))}. "
                                              "Each page in its own way, which --seed decides.")]
WorkersOpt = Annotated[int | None, typer.Option("--workers", metavar="N", min=1, show_default=False,
                                                help="Processes that draw; as many as there are processors.")]
OutOpt = Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", show_default=False,
                                             help="Where to write; pages/STORE if not given.")]


def pages(store: StoreArg = None, layout: LayoutOpt = "3x4", dpi: DpiOpt = 200, gain: GainOpt = 10.0,
          header: HeaderOpt = False, distort: DistortOpt = "", split: SplitOpt = None, seed: SeedOpt = 0,
          workers: WorkersOpt = None, out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Draw every record of a store on a sheet of ECG paper, as a PNG of one size, clean or as scans and photographs
    look."""
    from emgecg_cli.core.sheets import SheetSettings, draw_store
    from emgecg_cli.core.store import Engine

    chosen = names.choices("distortion") if distort == "all" else [one.strip() for one in distort.split(",") if one]
    settings = SheetSettings(layout, dpi, gain, header, tuple(chosen), seed)
    store = store or find_one("store")
    with console.progress("draw pages") as progress:
        made = draw_store(store, out or Path(config.PAGES) / store.resolve().name, settings, split=split,
                          engine=Engine("local", workers), progress=progress)
    if made.already_finished:
        console.note(f"{made.path.as_posix()} is finished already")
    if as_json:
        console.print_json({"path": made.path, "counts": made.manifest.counts} | made.manifest.arguments)
    else:
        console.table(["pages", "records", "layout", "dpi", "distorted by"],
                      [[made.path.as_posix(), made.manifest.counts["records"], layout, dpi, ", ".join(chosen)]])
