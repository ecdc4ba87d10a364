"""The model at work: a chunk of records in, their rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from emgecg_cli.core.artifacts import PredictionRow, to_json
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation.job import Job
from emgecg_cli.core.generation.reference_loss import reference_losses
from emgecg_cli.core.generation.refill import Choice, write_refilled
from emgecg_cli.core.generation.sampling import processors
from emgecg_cli.core.generation.shown import Shown
from emgecg_cli.core.instructions.conversations import asked_in_file, entry_id_of
from emgecg_cli.core.instructions.turns import TurnEnd
from emgecg_cli.core.models.decoding import Rows, why_not_refilled
from emgecg_cli.core.models.endings import endings
from emgecg_cli.core.models.report_model import ReportModel, pad_prompts


@dataclass(frozen=True)
class Reporter:
    """A loaded model and the job it works on."""

    model: ReportModel
    tokenizer: Any
    turn: TurnEnd
    job: Job
    device: torch.device

    @cached_property
    def why_static(self) -> str | None:
        """Why batches run until their longest report ends; None where the next record takes the place of one that has
        ended."""
        if self.job.config.num_beams > 1:
            return "beams are searched batch by batch"
        return why_not_refilled(self.model.backbone)

    def rows(self, indices: list[int], told: Callable[[int], None] = lambda ended: None) -> list[PredictionRow]:
        """The reports of a chunk of records; `told` hears how many have ended. Raises MedReportError when the device
        has too little memory."""
        try:
            return list(self._rows(indices, told))
        except (torch.OutOfMemoryError, MemoryError):
            size = self.job.config.batch_size
            raise MedReportError(f"the device ran out of memory with --batch-size {size}", _smaller(size)) from None

    def _rows(self, indices: list[int], told: Callable[[int], None]) -> Iterator[PredictionRow]:
        job = self.job
        records = [job.store.row(i) for i in indices]
        write = self._refilled if self.why_static is None else self._static
        output = write(indices, [row.record_id for row in records], told)
        losses, of_others = (self._losses(indices, one) for one in (job.shown, job.others))
        for i, row, ids in zip(indices, records, output, strict=True):
            text, ended = self.turn.report(ids, self.tokenizer)
            asked = job.instructions.rows[row.record_id]
            yield PredictionRow(row.record_id, text, row.report, asked.prompt_id,
                                row.subject_id, job.store.dataset, row.language, row.codes, job.config.signal,
                                job.shown.signal_from(i), not ended, losses.get(i), of_others.get(i),
                                entry_id=entry_id_of(asked), reference_from=job.reference_from,
                                question=asked_in_file(asked))

    def _losses(self, indices: list[int], shown: Shown | None) -> dict[int, float]:
        """The losses of the references, where they are asked for."""
        config = self.job.config
        if shown is None or not config.reference_loss:
            return {}
        return reference_losses(self.model, self.tokenizer, shown, indices, config.batch_size, self.device)

    def _refilled(self, indices: list[int], record_ids: list[str], told: Callable[[int], None]) -> list[list[int]]:
        prompts = self.job.prompts(indices, self.tokenizer, self.model.placeholders)

        def begin(numbers: list[int]) -> tuple[Rows, Tensor]:
            ids, mask = self._padded([prompts[n] for n in numbers])
            inputs, present = self._shown([indices[n] for n in numbers])
            return self.model.read_prompts(inputs, ids, mask, present)

        limit = self.job.config.max_new_tokens
        assert limit is not None
        choice = Choice(self.job.config, limit, self.turn, self.tokenizer)
        return write_refilled(record_ids, begin, choice, max(map(len, prompts)), self.device, told)

    def _static(self, indices: list[int], record_ids: list[str], told: Callable[[int], None]) -> list[list[int]]:
        job, output, size = self.job, [], self.job.config.batch_size
        for at in range(0, len(indices), size):
            batch, names = indices[at:at + size], record_ids[at:at + size]
            ids, mask = self._padded(job.prompts(batch, self.tokenizer, self.model.placeholders))
            inputs, present = self._shown(batch)
            output += self.model.generate(
                inputs, ids, mask, present, generation_config=self._settings(),
                logits_processor=processors(job.config, names, self.device),
                stopping_criteria=endings(self.turn, self.tokenizer)).tolist()
            told(len(output))
        return output

    def _padded(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        ids, mask = pad_prompts(prompts, self.tokenizer.pad_token_id, self.model.fusion.padding_side)
        return ids.to(self.device), mask.to(self.device)

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
        inputs, present = self.job.tower_inputs(indices)
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
