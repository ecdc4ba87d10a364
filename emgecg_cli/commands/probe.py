"""`medreport probe`: an encoder and a store in, what it knows of each code out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import JsonOpt, OutOpt, complete, find_one, words
from emgecg_cli.core.config.train import LEAD_ORDERS
from emgecg_cli.core.errors import MedReportError

EncoderArg = Annotated[Path | None, typer.Argument(metavar="ENCODER", show_default=False, help=(
    "A folder of `pretrain` or `train`, or ECG-CoCa's published .pt; the only one under encoders/ if not given."))]
StoreOpt = Annotated[Path | None, typer.Option("--store", metavar="STORE", show_default=False,
                                               help="The store; the only one under stores/ if not given.")]
ZeroOpt = Annotated[bool, typer.Option("--zero-shot", help="By the words of codes, without any training: for encoders "
                                                           "of `pretrain --objective coca`.")]
SplitOpt = Annotated[str, typer.Option("--split", metavar="train|val|test",
                                       autocompletion=words("train", "val", "test"),
                                       help="Which records are evaluated; a linear probe learns from train.")]
CodesOpt = Annotated[str | None, typer.Option("--codes", metavar="CODE,…", show_default=False,
                                              help="Only these codes; all that can be told if not given.")]
PromptsOpt = Annotated[Path | None, typer.Option("--prompts", metavar="FILE", show_default=False,
                                                 help="--zero-shot: words for codes in JSON, in place of the data "
                                                      "set's.")]
NameOpt = Annotated[str | None, typer.Option("--encoder", metavar="NAME", autocompletion=complete("encoder"),
                                             show_default=False, help="Which encoder a published file is of.")]
OrderOpt = Annotated[str, typer.Option("--lead-order", metavar="|".join(LEAD_ORDERS),
                                       autocompletion=words(*LEAD_ORDERS),
                                       help="Order in which an encoder of a published file takes leads.")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws of patients.")]


def probe(encoder: EncoderArg = None, store: StoreOpt = None, zero_shot: ZeroOpt = False, split: SplitOpt = "test",
          codes: CodesOpt = None, prompts: PromptsOpt = None, name: NameOpt = None,
          lead_order: OrderOpt = LEAD_ORDERS[0], seed: SeedOpt = 0, out: OutOpt = None,
          as_json: JsonOpt = False) -> None:
    """Evaluate an encoder on the codes of a store: AUROC with intervals, by a linear probe or without training."""
    if prompts and not zero_shot:
        raise MedReportError("--prompts has no effect without --zero-shot", "leave one of them out")
    if lead_order not in LEAD_ORDERS:
        raise MedReportError(f"--lead-order is '{lead_order}'", f"available: {', '.join(LEAD_ORDERS)}")
    encoder, store = encoder or find_one("encoder"), store or find_one("store", "--store")
    if lead_order != LEAD_ORDERS[0] and encoder.is_dir():
        raise MedReportError(f"--lead-order has no effect beside {encoder}, which says it itself", "leave it out")
    from emgecg_cli.core.studies.probe import probe as run_probe

    method = "zero-shot" if zero_shot else "linear"
    path = out or Path("probes") / f"{encoder.resolve().stem}-{store.resolve().name}-{method}.json"
    with console.progress("probe") as progress:
        result = run_probe(encoder, store, path, zero_shot=zero_shot, split=split,
                           codes=[code.strip() for code in codes.split(",")] if codes else (), prompts=prompts,
                           name=name, lead_order=lead_order, seed=seed, progress=progress)
    if as_json:
        console.print_json(result)
        return
    console.table(["code", "AUROC", "95 %", "records", *(["words"] if zero_shot else [])],
                  [[code, f"{area.auroc:.4f}", _shown(area.interval), area.positives,
                    *([area.words or ""] if zero_shot else [])]
                   for code, area in {**result.codes, "macro": result.macro}.items()])
    if result.left_out:
        console.warn(f"{len(result.left_out)} codes were left out: in the {split} split all records have them, or none")
    console.note(f"written to {result.path.as_posix()}")


def _shown(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"
