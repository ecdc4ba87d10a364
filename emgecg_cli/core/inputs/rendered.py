"""The conversations of a split as token ids: rendered before a training begins, or, of very many, when asked for.

A hundred thousand conversations take seconds, 800,000 minutes and a gigabyte. Of so many the lengths are learnt as
batches are made up, which the order of batches needs only of the records that are sorted together, and the token ids
are made where a record is read, so that a first step waits for no more than its own records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.inputs.values import Messages
from emgecg_cli.core.instructions.render import Rendered, Renderer
from emgecg_cli.core.instructions.turns import turn_end
from emgecg_cli.core.store import Store

MOST_BEFORE = 1 << 16  # conversations that are rendered before a training begins
AT_ONCE = 1 << 10


class Split(Protocol):
    """The conversations of some records, by their numbers in a split; `indices` are their rows of the store."""

    @property
    def indices(self) -> np.ndarray: ...

    @property
    def lengths(self) -> Any:
        """Tokens of each record, as an array, or as something that is indexed and made an array like one."""

    @property
    def truncated(self) -> int:
        """How many answers were cut."""

    @property
    def longest(self) -> tuple[int, int, int]:
        """Tokens of the longest conversation, the longest prompt and the longest answer, its end included."""

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """Tokens of some conversations, and of their prompts, (n, 2)."""

    def conversation(self, number: int) -> tuple[np.ndarray, int]:
        """Token ids of prompt and answer, and how many of them are the prompt."""

    def answers(self) -> Iterator[np.ndarray]:
        """Token ids of the answers one after the other, their ends included."""


@dataclass(frozen=True)
class RenderedSplit:
    """Conversations that are all rendered, in one array; see `Split`.

    Record i has `tokens[starts[i]:starts[i + 1]]`, of which the first `prompts[i]` are its prompt. `truncated` counts
    the answers that were cut.
    """

    indices: np.ndarray
    tokens: np.ndarray
    starts: np.ndarray
    prompts: np.ndarray
    truncated: int

    @property
    def lengths(self) -> np.ndarray:
        """See `Split`."""
        return np.diff(self.starts)

    @property
    def longest(self) -> tuple[int, int, int]:
        """See `Split`."""
        return _longest(np.stack([self.lengths, self.prompts], axis=1))

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """See `Split`."""
        return np.stack([self.starts[numbers + 1] - self.starts[numbers], self.prompts[numbers]], axis=1)

    def conversation(self, number: int) -> tuple[np.ndarray, int]:
        """See `Split`."""
        return self.tokens[self.starts[number]:self.starts[number + 1]], int(self.prompts[number])

    def answers(self) -> Iterator[np.ndarray]:
        """See `Split`."""
        for start, prompt, stop in zip(self.starts[:-1], self.prompts, self.starts[1:], strict=True):
            yield self.tokens[start + prompt:stop]


@dataclass(frozen=True, eq=False)
class LazySplit:
    """Conversations that are rendered when they are asked for; see `Split`. What is kept of one is its size.

    `render` gives the conversations of some rows of the store.
    """

    indices: np.ndarray
    render: Callable[[Sequence[int]], list[Rendered]] = field(repr=False)
    _sizes: np.ndarray = field(repr=False)
    _cut: np.ndarray = field(repr=False)

    @property
    def lengths(self) -> LazyLengths:
        """See `Split`."""
        return LazyLengths(self)

    @property
    def truncated(self) -> int:
        """See `Split`; renders what has not been yet."""
        self.sizes(np.arange(len(self.indices)))
        return int(self._cut.sum())

    @property
    def longest(self) -> tuple[int, int, int]:
        """See `Split`; renders what has not been yet."""
        return _longest(self.sizes(np.arange(len(self.indices))))

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """See `Split`."""
        unknown = numbers[self._sizes[numbers, 0] == 0]
        for start in range(0, len(unknown), AT_ONCE):
            for _ in self._some(unknown[start:start + AT_ONCE]):
                pass
        return self._sizes[numbers]

    def conversation(self, number: int) -> tuple[np.ndarray, int]:
        """See `Split`."""
        rendered, = self._some(np.array([number]))
        return np.array(rendered.input_ids, np.int32), rendered.prompt

    def answers(self) -> Iterator[np.ndarray]:
        """See `Split`."""
        for start in range(0, len(self.indices), AT_ONCE):
            for rendered in self._some(np.arange(start, min(start + AT_ONCE, len(self.indices)))):
                yield np.array(rendered.input_ids[rendered.prompt:], np.int32)

    def _some(self, numbers: np.ndarray) -> Iterator[Rendered]:
        for number, rendered in zip(numbers.tolist(), self.render(self.indices[numbers].tolist()), strict=True):
            self._sizes[number] = len(rendered.input_ids), rendered.prompt
            self._cut[number] = rendered.truncated
            yield rendered


@dataclass(frozen=True)
class LazyLengths:
    """Tokens of each record of a split; those that are asked for are rendered, if they have not been."""

    split: LazySplit

    def __len__(self) -> int:
        return len(self.split.indices)

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return self.split.sizes(numbers)[:, 0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[np.arange(len(self))], dtype)


class Conversations(Protocol):
    """What is said of records: `Inputs`, or drawn ones."""

    def messages(self, index: int) -> Messages: ...

    def placeholders(self, index: int, counts: Mapping[str, int] | None) -> dict[str, int] | None: ...


def render_split(store: Store, inputs: Inputs, tokenizer: Any, max_length: int,
                 placeholders: Mapping[str, int] | None = None, split: str = "train",
                 sample: tuple[int, int] | None = None, positions: int | None = None) -> Split:
    """The records of a split that have a report, or, of `sample` (N, seed), N of those drawn by the seed, in their
    order. More than MOST_BEFORE, of the val split an eighth of that, since it is not needed before the first step, are
    rendered when asked for, if nothing is to be learnt from all of them: that they fit into so many `positions` (None:
    any number), and that no report holds the words by which its end is known.

    Raises MedReportError when there is none, when one has no instruction, or when a prompt fills `max_length`.
    """
    indices = store.reported(split)
    if len(indices) == 0:
        raise MedReportError(f"{store.path}: no record with a report in the {split} split",
                             "prepare it with another --split; recordings without a report can only be reported on")
    if sample is not None and sample[0] < len(indices):
        indices = np.sort(np.random.default_rng(sample[1]).choice(indices, sample[0], replace=False))
    render = _renderer(inputs, tokenizer, max_length, placeholders)
    most = MOST_BEFORE if split == "train" else MOST_BEFORE // 8
    if len(indices) <= most or render.renderer.end.text or (positions is not None and max_length > positions):
        return _render_all(render, indices)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are forked, and render too
    lazy = LazySplit(indices, render, np.zeros((len(indices), 2), np.int32), np.zeros(len(indices), bool))
    lazy.sizes(np.linspace(0, len(indices) - 1, MOST_BEFORE // 8).astype(int))  # all prompts of a pool are among these
    return lazy


def render_all(shown: Conversations, indices: np.ndarray, tokenizer: Any, max_length: int,
               placeholders: Mapping[str, int] | None = None) -> RenderedSplit:
    """Render the conversations of these records; `placeholders` are the model's."""
    return _render_all(_renderer(shown, tokenizer, max_length, placeholders), indices)


@dataclass(frozen=True)
class _Render:
    """Renders the conversations of some records; may be pickled, and forked."""

    shown: Conversations
    renderer: Renderer
    placeholders: Mapping[str, int] | None

    def __call__(self, rows: Sequence[int]) -> list[Rendered]:
        return self.renderer.render((self.shown.messages(row), self.shown.placeholders(row, self.placeholders))
                                    for row in rows)


def _renderer(shown: Conversations, tokenizer: Any, max_length: int,
              placeholders: Mapping[str, int] | None) -> _Render:
    return _Render(shown, Renderer(tokenizer, max_length, turn_end(tokenizer)), placeholders)


def _render_all(render: _Render, indices: np.ndarray) -> RenderedSplit:
    pieces, prompts, truncated = [], [], 0
    for start in range(0, len(indices), AT_ONCE):
        for rendered in render(indices[start:start + AT_ONCE].tolist()):
            pieces.append(np.array(rendered.input_ids, np.int32))
            prompts.append(rendered.prompt)
            truncated += rendered.truncated
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return RenderedSplit(indices, np.concatenate(pieces), starts, np.array(prompts), truncated)


def words_of(split: Split, store: Store, tokenizer: Any, end: int, tokens: Collection[int]) -> set[int]:
    """Those of some token ids that reports are made of, the last `end` of each left out.

    A token that was added to a vocabulary stands where its text does, which is looked for; other ones are looked for
    among the ids of all reports.
    """
    added = tokenizer.added_tokens_decoder
    if isinstance(split, LazySplit) and set(added) >= set(tokens):
        report = polars.col("report")
        found = store.scan().select(report.str.contains(added[token].content, literal=True).any().alias(str(token))
                                    for token in tokens).collect(engine="streaming").row(0, named=True)
        return {token for token in tokens if found[str(token)]}
    return {token for answer in split.answers() for token in set(answer[:-end].tolist()) & set(tokens)}


def lengths_about(split: Split, inputs: Inputs) -> np.ndarray:
    """Tokens of each record, or, of so many that they have not been rendered, what grows with them."""
    if isinstance(split, LazySplit):
        return inputs.instructions.rows.line_sizes(inputs.store.column("record_id").gather(split.indices).to_list())
    return np.asarray(split.lengths)


def _longest(sizes: np.ndarray) -> tuple[int, int, int]:
    return int(sizes[:, 0].max()), int(sizes[:, 1].max()), int((sizes[:, 0] - sizes[:, 1]).max())
