"""`medreport export`: a run in, a folder in Hugging Face's format out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands.options import DownloadOpt, JsonOpt, MovedOpt, RunArg, find_one, words
from emgecg_cli.core.errors import MedReportError

ToOpt = Annotated[Path | None, typer.Option("--to", "--out", "-o", metavar="DIR", show_default=False,
                                            help="The folder to write; exports/NAME if not given.")]
PrecisionOpt = Annotated[str, typer.Option("--precision", metavar="auto|fp32|bf16",
                                           autocompletion=words("auto", "fp32", "bf16"),
                                           help="Precision of the merged weights; auto: as the run was trained.")]


AsOpt = Annotated[str | None, typer.Option("--as", metavar="gem", autocompletion=words("gem"), show_default=False,
                                           help="Write the weights under published names instead: those of GEM.")]


def export(run: RunArg = None, to: ToOpt = None, precision: PrecisionOpt = "auto", backbone: MovedOpt = None,
           allow_download: DownloadOpt = False, published: AsOpt = None, as_json: JsonOpt = False) -> None:
    """Merge a run into one folder: backbone in Hugging Face's format, signal weights, a model card."""
    run = run or find_one("run")
    if published is not None:
        _as_published(run, to, published, precision, backbone, as_json)
        return
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


def _as_published(run: Path, to: Path | None, published: str, precision: str, backbone: Path | None,
                  as_json: bool) -> None:
    """Weights under the names that somebody published them by."""
    if published != "gem":
        raise MedReportError(f"--as is '{published}'", "available: gem")
    if precision != "auto" or backbone:
        raise MedReportError("--as gem writes weights as they are: --precision and --backbone have no effect",
                             "leave them out")
    from emgecg_cli.core.published.gem import export_gem

    path = to or Path("exports") / f"{run.resolve().name}-gem"
    written = export_gem(run, path)
    if as_json:
        console.print_json({"path": path, "names": len(written)})
        return
    console.table(["export", "names"], [[path.as_posix(), len(written)]])
