"""Where the numbers of a training go besides its own files: TensorBoard or Weights & Biases, only where asked.

Accelerate's trackers write them, of the main process.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from emgecg_cli.core.errors import MedReportError


class Tracker(Protocol):
    """Takes named numbers step by step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step."""

    def close(self) -> None:
        """Write out what waits."""


@dataclass(frozen=True)
class Tracking:
    """The trackers of an `Accelerator`, which all get the same numbers."""

    accelerator: Accelerator

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell each."""
        self.accelerator.log(dict(values), step=step)

    def close(self) -> None:
        """Close each; the accelerator goes on without."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.trackers = []


def tensorboard(run: Path, settings: Mapping[str, Any], start: int) -> TensorBoardTracker:
    """Event files under `run/tensorboard`; a resumed run hides the steps it does again."""
    return TensorBoardTracker("tensorboard", run, purge_step=start + 1 if start else None)


def wandb(run: Path, settings: Mapping[str, Any], start: int) -> WandBTracker:
    """A run on wandb.ai, or where WANDB_BASE_URL and WANDB_MODE say; its key comes from the environment.

    Only settings and losses are sent. A resumed run goes on in the same place.
    """
    from wandb import Settings

    identity = run / "wandb_id.txt"
    if not identity.is_file():
        identity.write_text(secrets.token_hex(4))
    return WandBTracker(os.environ.get("WANDB_PROJECT", "medreport"), name=run.name, dir=str(run),
                        id=identity.read_text().strip(), resume="allow", config=dict(settings),
                        settings=Settings(silent=True, console="off", save_code=False, disable_git=True))


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], int], GeneralTracker]] = {
    "tensorboard": tensorboard, "wandb": wandb}


def parse_trackers(text: str) -> list[str]:
    """"tensorboard,wandb" -> names; "none" -> none. Raises MedReportError on an unknown one or a missing package."""
    chosen = [] if text == "none" else [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in TRACKERS:
            raise MedReportError(f"no tracker '{name}'", f"available: none, {', '.join(TRACKERS)}")
        try:
            __import__("torch.utils.tensorboard" if name == "tensorboard" else name)
        except ImportError:
            raise MedReportError(f"--track {name} needs a package that is not installed",
                                 "install it: `pip install 'medreport[tracking]'`") from None
    if "wandb" in chosen and os.environ.get("WANDB_MODE", "online") == "online" and not (
            os.environ.get("WANDB_API_KEY") or Path.home().joinpath(".netrc").is_file()):
        raise MedReportError("--track wandb without a key", "set WANDB_API_KEY, or WANDB_MODE=offline")
    return chosen


def open_trackers(chosen: list[str], run: Path, settings: Mapping[str, Any], accelerator: Accelerator, start: int) \
        -> Tracker | None:
    """Start the chosen trackers, going on after step `start`; None where none was chosen."""
    if not chosen:
        return None
    accelerator.log_with = [TRACKERS[name](run, settings, start) for name in chosen]
    accelerator.init_trackers("medreport")
    if "tensorboard" in chosen and not start:
        accelerator.get_tracker("tensorboard", unwrap=True).add_text(
            "settings", "\n".join(f"    {key}: {value}" for key, value in settings.items()))
    return Tracking(accelerator)
