"""`medreport export`: a run in, a folder in Hugging Face's format out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands.options import DownloadOpt, JsonOpt, MovedOpt, RunArg, find_one, words

ToOpt = Annotated[Path | None, typer.Option("--to", "--out", "-o", metavar="DIR", show_default=False,
                                            help="The folder to write; exports/NAME if not given.")]
PrecisionOpt = Annotated[str, typer.Option("--precision", metavar="auto|fp32|bf16",
                                           autocompletion=words("auto", "fp32", "bf16"),
                                           help="Precision of the merged weights; auto: as the run was trained.")]


def export(run: RunArg = None, to: ToOpt = None, precision: PrecisionOpt = "auto", backbone: MovedOpt = None,
           allow_download: DownloadOpt = False, as_json: JsonOpt = False) -> None:
    """Merge a run into one folder: backbone in Hugging Face's format, signal weights, a model card."""
    run = run or find_one("run")
    from emgecg_cli.core.export import export_run

    with console.progress("export", unit=""):
        result = export_run(run, to or Path("exports") / run.resolve().name, precision, backbone, allow_download)
    if result.already_finished:
        console.note(f"{result.path.as_posix()} is finished already")
    if as_json:
        console.print_json(result)
        return
    console.table(["export", "precision", "size"],
                  [[result.path.as_posix(), result.precision, f"{result.size / 1e6:,.1f} MB"]])
    next_steps.after_train(result.path)
