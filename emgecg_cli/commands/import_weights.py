"""`medreport import-weights`: released weights in, a run out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import JsonOpt, OutOpt, complete, words
from emgecg_cli.core import names
from emgecg_cli.core.config import RUNS
from emgecg_cli.core.config.train import IMAGE_LAYOUTS, LEAD_ORDERS
from emgecg_cli.core.errors import MedReportError

WhoseArg = Annotated[str, typer.Argument(metavar="gem", autocompletion=complete("released weights"),
                                         help=f"Whose: {', '.join(names.choices('released weights'))}.")]
FolderArg = Annotated[Path, typer.Argument(metavar="DIR", help="The folder they were downloaded to.")]
OrderOpt = Annotated[str, typer.Option("--lead-order", metavar="|".join(LEAD_ORDERS),
                                       autocompletion=words(*LEAD_ORDERS),
                                       help="Order in which the encoder takes leads; see `train`.")]
LayoutOpt = Annotated[str, typer.Option("--image-layout", metavar="|".join(IMAGE_LAYOUTS),
                                        autocompletion=words(*IMAGE_LAYOUTS), help="Leads on the pages it is shown.")]


def import_weights(whose: WhoseArg, folder: FolderArg, out: OutOpt = None, lead_order: OrderOpt = LEAD_ORDERS[0],
                   image_layout: LayoutOpt = IMAGE_LAYOUTS[-1], as_json: JsonOpt = False) -> None:
    """Make released weights a run, for `generate --store --instructions`. What does not fit is listed by name."""
    for option, value, known in (("--lead-order", lead_order, LEAD_ORDERS), ("--image-layout", image_layout,
                                                                             IMAGE_LAYOUTS)):
        if value not in known:
            raise MedReportError(f"{option} is '{value}'", f"available: {', '.join(known)}")
    names.check("released weights", whose)
    path = out or Path(RUNS) / whose
    make = names.resolve("released weights", whose)
    with console.progress("import-weights", unit=""):
        result = make(folder, path, lead_order=lead_order, image_layout=image_layout)
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    if result.unused:
        console.note(f"not used: {', '.join(result.unused)}")
    if as_json:
        console.print_json(result)
        return
    console.table(["run", "names", "parameters"], [[result.path.as_posix(), result.names, f"{result.parameters:,}"]])
    console.note(f"to use it: medreport generate {result.path.as_posix()} --store STORE --instructions INSTRUCTIONS")
