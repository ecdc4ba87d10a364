"""The model at work: a batch of records in, their rows out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from emgecg_cli.core.artifacts import PredictionRow, to_json
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation.endings import endings
from emgecg_cli.core.generation.job import Job
from emgecg_cli.core.generation.sampling import processors
from emgecg_cli.core.instructions.turns import TurnEnd
from emgecg_cli.core.models.report_model import ReportModel, pad_prompts


@dataclass(frozen=True)
class Reporter:
    """A loaded model and the job it works on."""

    model: ReportModel
    tokenizer: Any
    turn: TurnEnd
    job: Job
    device: torch.device

    def rows(self, indices: list[int]) -> list[PredictionRow]:
        """The reports of some records, generated together. Raises MedReportError when the device has too little memory.
        """
        try:
            return list(self._rows(indices))
        except (torch.OutOfMemoryError, MemoryError):
            size = self.job.config.batch_size
            raise MedReportError(f"the device ran out of memory with --batch-size {size}", _smaller(size)) from None

    def _rows(self, indices: list[int]) -> Iterator[PredictionRow]:
        job = self.job
        records = [job.store.row(i) for i in indices]
        prompts = job.prompts(indices, self.tokenizer, self.model.placeholders)
        input_ids, mask = pad_prompts(prompts, self.tokenizer.pad_token_id, self.model.fusion.padding_side)
        inputs, present = self._shown(indices)
        output = self.model.generate(
            inputs, input_ids.to(self.device), mask.to(self.device), present, generation_config=self._settings(),
            logits_processor=processors(job.config, [row.record_id for row in records], self.device),
            stopping_criteria=endings(self.turn, self.tokenizer))
        for i, row, ids in zip(indices, records, output.tolist(), strict=True):
            text, ended = self.turn.report(ids, self.tokenizer)
            yield PredictionRow(row.record_id, text, row.report, job.instructions.rows[row.record_id].prompt_id,
                                row.subject_id, job.store.dataset, row.language, row.codes, job.config.signal,
                                job.signal_from(i), truncated=not ended)

    def _settings(self) -> GenerationConfig:
        """Greedy or beam search and nothing else; `load_run` has put a checkpoint's own settings aside."""
        config = self.job.config
        beams = {} if config.length_penalty is None else {"length_penalty": config.length_penalty}
        return GenerationConfig(
            max_new_tokens=config.max_new_tokens, num_beams=config.num_beams, do_sample=False, **beams,
            pad_token_id=self.tokenizer.pad_token_id, bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=list(self.turn.stop),
            decoder_start_token_id=getattr(self.model.backbone.config, "decoder_start_token_id", None))

    def _shown(self, indices: list[int]) -> tuple[dict[str, Tensor] | None, dict[str, Tensor]]:
        """What the towers are shown, by name, and which records have it; None for text alone."""
        if self.job.config.signal == "none":
            return None, {}
        inputs, present = self.job.shown(indices)
        made = {name: prepare(inputs[name].to(self.device)) for name, prepare in self.model.preprocessing.items()}
        return made, {name: one.to(self.device) for name, one in present.items()}


def to_lines(rows: Iterable[PredictionRow]) -> str:
    """Rows as JSON lines."""
    return "".join(to_json(row) + "\n" for row in rows)


def _smaller(size: int) -> str:
    """What to try after a batch that was too large; the batch size is part of what unfinished predictions are."""
    if size == 1:
        return "give a smaller --max-new-tokens, or use a device with more memory"
    return (f"try --batch-size {size // 2}; if some reports have been written already, they stay where they are, "
            "and it needs another --out")
