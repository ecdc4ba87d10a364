"""The options several commands share, and where a command looks by default.

An alias says what an option is called and means; its default stays with the command, which borrows it from
`core.config`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.core import config, launch, names
from emgecg_cli.core.errors import MedReportError


def complete(kind: str) -> Callable[[str], list[str]]:
    """The TAB completion of an option that takes a name of this kind."""
    known = list(names.BACKBONES) if kind == "backbone" else names.choices(kind)

    def complete_name(incomplete: str) -> list[str]:
        return [name for name in known if name.startswith(incomplete)]

    return complete_name


def words(*known: str) -> Callable[[str], list[str]]:
    """The TAB completion of an option that takes one of a few words."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


# whom references are of, for --healthy
HEALTHY_HELP = ("of examinations that are normal as a whole, or, where these are too few, of every nerve a report "
                "calls normal too.")
OutOpt = Annotated[Path | None, typer.Option("--out", "-o", metavar="PATH", show_default=False,
                                             help="Where to write; a sensible place in this folder if not given.")]
OutOrPipeOpt = Annotated[str | None, typer.Option("--out", "-o", metavar="PATH|-", show_default=False,
                                                  help="Where to write; - writes JSON lines to stdout.")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, max=config.LARGEST_SEED,
                                       help="Seed of every random choice made here.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
SplitOpt = Annotated[str | None, typer.Option("--split", metavar="train|val|test", show_default=False,
                                              autocompletion=words("train", "val", "test"),
                                              help="Only the records of this split.")]
FileFsOpt = Annotated[float | None, typer.Option(
    "--file-fs", metavar="HZ", show_default=False, rich_help_panel="Files",
    help="The rate of recordings whose files do not say it (NumPy, CSV without times).")]
FileUnitsOpt = Annotated[str | None, typer.Option(
    "--file-units", metavar="uV|mV|V", show_default=False, autocompletion=words("uV", "mV", "V"),
    rich_help_panel="Files", help="The units of recordings whose files do not say them.")]
FileLeadsOpt = Annotated[str | None, typer.Option(
    "--file-leads", metavar="I,II,…|standard", show_default=False, rich_help_panel="Files",
    help="What the signals are called, in order, of files that do not say it; standard: I to aVF, V1 to V6.")]
StoreArg = Annotated[Path | None, typer.Argument(metavar="STORE", show_default=False,
                                                 help="A store; the only one under stores/ if not given.")]
StoreOpt = Annotated[Path | None, typer.Option("--store", metavar="STORE", show_default=False,
                                               help="A store; the one it was built from if not given.")]
InstructionsArg = Annotated[Path | None, typer.Argument(
    metavar="INSTRUCTIONS", show_default=False, help="Instructions; the only ones under instructions/ if not given.")]
InstructionsOpt = Annotated[Path | None, typer.Option(
    "--instructions", metavar="PATH", show_default=False,
    help="Other instructions, of a store that the run was not trained on; else the run's own.")]
RunArg = Annotated[Path | None, typer.Argument(metavar="RUN", show_default=False,
                                               help="A run of train; the only one under runs/ if not given.")]
SystemsArg = Annotated[list[str] | None, typer.Argument(
    metavar="PREDICTIONS|- …", show_default=False,
    help="A predictions file, or - for one on stdin; the only one under predictions/ if not given. Several are "
         "compared with the first.")]
DatasetArg = Annotated[str, typer.Argument(metavar="DATASET", autocompletion=complete("dataset"),
                                           help=f"One of {', '.join(names.choices('dataset'))}.")]
DownloadOpt = Annotated[bool, typer.Option("--allow-download", help="Fetch the backbone that the run names from the "
                                                                    "hub, if it is not on this machine.")]
MovedOpt = Annotated[Path | None, typer.Option("--backbone", metavar="FOLDER", show_default=False,
                                               help="Where the folder of the run's backbone lies now, if it was moved; "
                                                    "another model's is refused.")]
RephraserOpt = Annotated[str, typer.Option("--rephraser", metavar="NAME", autocompletion=complete("rephraser"),
                                           help=f"{' or '.join(names.choices('rephraser'))}.")]
MetricsOpt = Annotated[list[str] | None, typer.Option(
    "--metric", metavar="NAME", autocompletion=complete("metric"), show_default=False,
    help=f"A metric to compute, may be repeated, in place of a profile: {', '.join(names.choices('metric'))}.")]


def refuse_all_but(context: typer.Context, taken: Collection[str], beside: str) -> None:
    """Refuse every parameter that was typed and is not among the `taken`, as it has no effect `beside` an option."""
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if source is not None and source.name == "COMMANDLINE" and one.name not in taken and beside not in one.opts:
            raise MedReportError(f"{one.opts[0]} has no effect on {beside}", "leave it out")


@dataclass(frozen=True)
class _Place:
    """Where artefacts of a kind lie by default, how they look there, and what makes one."""

    folder: str
    pattern: str
    made_by: str


PLACES = {
    "store": _Place(config.STORES, "*", "prepare ptb-xl --root DIR"),
    "instructions": _Place(config.INSTRUCTIONS, "*", "build-instructions"),
    "encoder": _Place(config.ENCODERS, "*", "pretrain"),
    "run": _Place(config.RUNS, "*", "train --backbone tiny"),
    "predictions": _Place(config.PREDICTIONS, "*.jsonl", "generate"),
}


def find_one(kind: str, flag: str = "") -> Path:
    """The only finished artefact of this kind in its default place, and say so on stderr.

    `flag` is the option that names it where it is not an argument. A store made by `perturb` is never picked up on its
    own: it is an input only where it is named. Raises MedReportError when there is none, or a choice to make; it lists
    what there is and says the next command to type.
    """
    from emgecg_cli.core import manifest

    place = PLACES[kind]
    there = sorted(path for path in Path(place.folder).glob(place.pattern) if not path.name.startswith("."))
    finished = [path for path in there if manifest.is_finished(path)]
    found = [path for path in finished if kind != "store" or manifest.read_manifest(path, kind).command != "perturb"]
    if len(found) == 1:
        if launch.is_main() and launch.CHILD_VARIABLE not in os.environ:  # its parent said so
            console.note(f"using {found[0].as_posix()}")
        return found[0]
    if finished:
        what = f"several {_plural(kind)}" if found else f"only perturbed stores under {place.folder}/"
        choice = found or finished
        typed = sys.argv[1:]
        # the first argument of a command is what is looked for, unless an option names it
        at = len(typed) if flag else 1
        command = shlex.join(["medreport", *typed[:at], *flag.split(), choice[0].as_posix(), *typed[at:]])
        raise MedReportError(f"{what}: {_listed(choice)}", f"name one: `{command}`")
    if there:
        raise MedReportError(f"no finished {_singular(kind)} under {place.folder}/, only {_listed(there)}",
                             "run the command that makes it again: it goes on where it stopped")
    raise MedReportError(f"no {_singular(kind)} under {place.folder}/", f"make one: `medreport {place.made_by}`")


def _listed(paths: list[Path]) -> str:
    """Paths in a line, not more than eight."""
    shown = ", ".join(path.as_posix() for path in paths[:8])
    return shown if len(paths) <= 8 else f"{shown} and {len(paths) - 8} more"


def _plural(kind: str) -> str:
    return kind if kind.endswith("s") else f"{kind}s"


def _singular(kind: str) -> str:
    return "predictions file" if kind == "predictions" else kind
