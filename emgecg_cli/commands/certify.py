"""`medreport certify`: does a run use its signal? Five conditions, one verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.generate import BatchOpt, LimitOpt, NewOpt, ReferencesOpt, SplitOpt, StoreOpt
from emgecg_cli.commands.options import (
    DownloadOpt,
    InstructionsOpt,
    JsonOpt,
    MovedOpt,
    OutOpt,
    RunArg,
    SeedOpt,
    find_one,
)
from emgecg_cli.core.config import CERTIFICATES, CertifyDefaults, GenerateConfig

if TYPE_CHECKING:
    from emgecg_cli.core.studies.certify import Certificate

ResamplesOpt = Annotated[int, typer.Option("--resamples", min=200, max=100_000,
                                           help="Bootstrap draws of the intervals.")]
MarginOpt = Annotated[float, typer.Option("--margin", min=0.0, max=1.0,
                                          help="By how much a decisive score must be better with the real recording.")]
LossOpt = Annotated[float, typer.Option("--loss-margin", min=0.0,
                                        help="By how much the reference must be likelier, in nats a token.")]


def certify(run: RunArg = None, store: StoreOpt = None, instructions: InstructionsOpt = None,
            references: ReferencesOpt = None, split: SplitOpt = GenerateConfig.split,
            limit: LimitOpt = GenerateConfig.limit, batch_size: BatchOpt = GenerateConfig.batch_size,
            max_new_tokens: NewOpt = GenerateConfig.max_new_tokens, resamples: ResamplesOpt = CertifyDefaults.resamples,
            margin: MarginOpt = CertifyDefaults.margin, loss_margin: LossOpt = CertifyDefaults.loss_margin,
            seed: SeedOpt = GenerateConfig.seed, backbone: MovedOpt = None, allow_download: DownloadOpt = False,
            out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Say whether a run uses its signal: the same records with their own recording, another patient's, zeros, noise and
    nothing. Killed and run again, it goes on where it stopped."""
    run = run or find_one("run")
    config = GenerateConfig(split, batch_size=batch_size, max_new_tokens=max_new_tokens, limit=limit, seed=seed)
    name = "-".join(filter(None, [run.resolve().name, store.resolve().name if store else "",
                                  split if split != GenerateConfig.split else ""]))
    folder = out or Path(CERTIFICATES) / name
    from emgecg_cli.core.generation import Places
    from emgecg_cli.core.studies.certify import CERTIFICATE, Settings
    from emgecg_cli.core.studies.certify import certify as study

    found = study(run, folder, Settings(config, resamples, margin, loss_margin), stage=console.stage,
                  places=Places(store, instructions, references, backbone, allow_download))
    if as_json:
        console.print_json(found)
    else:
        _show(found)
    console.note(f"wrote {(folder / CERTIFICATE).as_posix()}")


def _show(found: Certificate) -> None:
    """Values, differences and what reports know of facts, then the verdict; the rule and notes on stderr. The
    certificate itself has every score, not only those that decide and those of a short table."""
    from emgecg_cli.core.evaluation.tasks import headlines

    there = [one for one in found.conditions if one.signal is not None]
    values = {(condition, value.name): value for condition, own in found.values.items() for value in own}
    short = headlines()
    scores = [one for one in found.differences if one.condition == "shuffled"
              and (one.decisive or one.kind == "loss" or one.score in short)]
    rows = [[f"{'* ' if one.decisive else ''}{one.score}",
             *(_value(found, values, condition.name, one) for condition in there)] for one in scores]
    console.table(["score", *(one.means for one in there)], rows,
                  title=f"{found.n} reports of {found.patients} patients, by what the model was shown")
    against = {(one.condition, one.score): one for one in found.differences}
    others = [one for one in there if one.name != "real"]
    console.table(["better with the real recording by", *(f"than {one.means}" for one in others)],
                  [[f"{'* ' if one.decisive else ''}{one.score}",
                    *(_difference(against.get((other.name, one.score))) for other in others)] for one in scores],
                  title="Paired differences with 95 % intervals by patient; * decides")
    _show_information(found, [one.name for one in there])
    for one in found.conditions:
        if one.reason:
            console.note(f"{one.name} does not apply: {one.reason}")
    for note in [*found.notes, found.rule]:
        console.note(note)
    because = f" ({', '.join(found.because)})" if found.because else ""
    console.table(["verdict"], [[f"{found.verdict}{because}"]])


def _show_information(found: Certificate, conditions: list[str]) -> None:
    """Mutual information of facts and statements, above chance, with p values."""
    by = {(name, one.fact): one for name in conditions for one in found.information.get(name, [])}
    facts = list(dict.fromkeys(fact for _, fact in by))
    if facts:
        rows = [[fact, by[conditions[0], fact].n,
                 *(f"{one.corrected:.3f} (p {one.p:.3f})" for name in conditions if (one := by[name, fact]))]
                for fact in facts]
        console.table(["measured fact", "records", *conditions], rows,
                      title="Mutual information of facts and statements, nats above chance")


def _value(found: Certificate, values: Any, condition: str, one: Any) -> str:
    if one.kind == "loss":
        return f"{found.losses[condition]:.3f}"
    value = values.get((condition, one.score))
    return "-" if value is None or value.value is None else f"{value.value:.3f}"


def _difference(one: Any) -> str:
    if one is None or one.value is None:
        return "-"
    interval = "" if one.ci_low is None else f" [{one.ci_low:+.3f}, {one.ci_high:+.3f}]"
    return f"{one.value:+.3f}{interval}"
