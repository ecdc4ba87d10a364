"""Where the numbers of a training go besides its own files: TensorBoard or Weights & Biases, only where asked."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emgecg_cli.core.errors import MedReportError


class Tracker(Protocol):
    """Takes named numbers step by step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step."""

    def close(self) -> None:
        """Write out what waits."""


@dataclass(frozen=True)
class Several:
    """Trackers that all get the same numbers."""

    trackers: list[Tracker]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.log(step, values)

    def close(self) -> None:
        """Close each."""
        for tracker in self.trackers:
            tracker.close()


class TensorBoard:
    """Event files under `run/tensorboard`; a resumed run hides the steps it does again."""

    def __init__(self, run: Path, settings: Mapping[str, Any], start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1 if start else None)
        if not start:
            self.writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in settings.items()))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self.writer.close()


class WeightsAndBiases:
    """A run on wandb.ai, or where WANDB_BASE_URL and WANDB_MODE say; its key comes from the environment.

    Only settings and losses are sent. A resumed run goes on in the same place.
    """

    def __init__(self, run: Path, settings: Mapping[str, Any], start: int) -> None:
        import wandb

        identity = run / "wandb_id.txt"
        if not identity.is_file():
            identity.write_text(secrets.token_hex(4))
        self.run = wandb.init(project=os.environ.get("WANDB_PROJECT", "medreport"), name=run.name, dir=str(run),
                              id=identity.read_text().strip(), resume="allow", config=dict(settings),
                              settings=wandb.Settings(silent=True, console="off", save_code=False, disable_git=True))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row a step; a step that is there already is left as it is."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the upload."""
        self.run.finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard, "wandb": WeightsAndBiases}


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


def open_trackers(chosen: list[str], run: Path, settings: Mapping[str, Any], start: int) -> Tracker | None:
    """The chosen trackers as one, going on after step `start`; None where none was chosen."""
    return Several([TRACKERS[name](run, settings, start) for name in chosen]) if chosen else None
