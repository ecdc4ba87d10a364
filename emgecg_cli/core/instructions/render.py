"""The one place of chat template and loss mask: `train` and `generate` render with the same function.

Prompt and answer are tokenised apart and joined, so the prompt of a training sequence is, token for token, the prompt
that generation starts from. Only the answer's tokens and its end (`turns`) carry loss.

A message is text, or a list of parts. Signals ("ecg", "image") and texts stand on lines of their own, a recording and
its page on one. A number of a
table ("value") stands inline, where it was written: the encoder's tokens take its place, or it is written out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.pieces import added_around, tokenise
from emgecg_cli.core.instructions.templates import fill, own_template
from emgecg_cli.core.instructions.turns import TurnEnd, turn_end

IGNORE_INDEX = -100  # what torch's cross-entropy, and so transformers, leaves out of the loss
# Stands in input_ids where a fusion puts a signal token, and the ids below it for the further types of part that have
# placeholders; no vocabulary has them
PLACEHOLDER = -1
INPUT_PARTS = ("ecg", "value", "image")
PROMPTS_KEPT = 4096
_NOTHING: tuple[list[int], list[int]] = ([], [])
_MARK = "\ufffc"  # object replacement character: where a signal part stands, until the text is tokenised


@dataclass(frozen=True)
class Rendered:
    """Token ids of one conversation and its labels (T), `IGNORE_INDEX` where no loss falls.

    `truncated`: the answer was cut at the maximal length; it then has no end, lest the model learns to stop there.
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return self.labels.count(IGNORE_INDEX)


def render(messages: Sequence[Mapping[str, Any]], tokenizer: Any, max_length: int,
           placeholders: Mapping[str, int] | None = None, end: TurnEnd | None = None) -> Rendered:
    """Render a conversation that ends with the assistant's answer; `placeholders` as in `render_prompt`.

    `end` is the tokenizer's `turn_end`, looked for if not given. Raises MedReportError when the prompt alone fills
    `max_length`, and when the answer holds the words by which its end is known.
    """
    return Renderer(tokenizer, max_length, end or turn_end(tokenizer)).render([(messages, placeholders)])[0]


@dataclass(frozen=True, eq=False)
class Renderer:
    """Renders many conversations: a prompt that many share is rendered once, and answers are tokenised together."""

    tokenizer: Any
    max_length: int
    end: TurnEnd
    _prompts: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def render(self, conversations: Iterable[tuple[Sequence[Mapping[str, Any]], Mapping[str, int] | None]]) \
            -> list[Rendered]:
        """Conversations with the placeholders of each; see the function `render`."""
        prompts, texts = [], []
        for messages, placeholders in conversations:
            if not messages or messages[-1]["role"] != "assistant":
                raise MedReportError("a training conversation must end with an assistant message",
                                     "rebuild the instructions")
            prompts.append(self.prompt(messages, placeholders))
            texts.append(text_of(messages[-1]["content"]))
            if self.end.text and self.end.text in texts[-1]:
                raise MedReportError(f"a report contains '{self.end.text}', by which the chat template ends a turn",
                                     "take it out of the report, or give another --chat-template")
        answers = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [self._joined(prompt, list(answer)) for prompt, answer in zip(prompts, answers, strict=True)]

    def prompt(self, messages: Sequence[Mapping[str, Any]], placeholders: Mapping[str, int] | None) -> list[int]:
        """See `render_prompt`."""
        shared = repr((_before_answer(messages), placeholders))
        if shared not in self._prompts:
            if len(self._prompts) >= PROMPTS_KEPT:
                self._prompts.clear()
            self._prompts[shared] = render_prompt(messages, self.tokenizer, placeholders)
        return self._prompts[shared]

    def _joined(self, prompt: list[int], answer: list[int]) -> Rendered:
        room = self.max_length - len(prompt)
        if room < 2:
            raise MedReportError(f"the prompt is {len(prompt)} tokens long, the maximal length {self.max_length}",
                                 "give a larger --max-length")
        truncated = len(answer) + len(self.end.ids) > room
        answer = answer[:room] if truncated else [*answer, *self.end.ids]
        return Rendered(prompt + answer, [IGNORE_INDEX] * len(prompt) + answer, truncated)


def render_prompt(messages: Sequence[Mapping[str, Any]], tokenizer: Any,
                  placeholders: Mapping[str, int] | None = None) -> list[int]:
    """Token ids of everything before the last assistant message, up to where the answer begins.

    The tokenizer's own chat template where it has one, else MEIT's `<|user|>` and `<|assistant|>` lines.
    `placeholders` says for each type of part how many signal tokens stand for one such part ({"ecg": 8}, {"value": 2}):
    it becomes as many ids, `PLACEHOLDER - k` for the k-th type from 0, or nothing for 0. Without it, signals enter
    beside the text and their parts render to nothing. A "value" part that is not among `placeholders` is written out as
    its number.

    Raises MedReportError when the prompt lacks a signal that is to enter, or has one that is not, and when the template
    fails.
    """
    turns = _before_answer(messages)
    counts = _counts(turns, placeholders)
    marked = {kind for kind, count in (placeholders or {}).items() if count > 0}
    nothing = {kind for kind, count in (placeholders or {}).items() if count <= 0}
    plain = [{"role": turn["role"], "content": _text(turn["content"], marked, nothing)} for turn in turns]
    template = own_template(tokenizer)
    if template is not None:
        text = fill(tokenizer, template, plain, True)
        before, after = _NOTHING
    else:
        text = "".join(f"<|{turn['role']}|>\n{turn['content']}\n" for turn in plain) + "<|assistant|>\n"
        before, after = added_around(tokenizer)
    pieces = text.split(_MARK) if marked else [text]
    if len(pieces) - 1 != len(counts):
        raise MedReportError(f"a prompt with {len(counts)} signal parts, of which its chat template shows "
                             f"{len(pieces) - 1}", "give the backbone another chat template")
    ids = list(before)
    inline = [False, *(kind == "value" for kind, _ in counts)]
    of_type = {kind: PLACEHOLDER - number for number, kind in enumerate(placeholders or {})}
    for piece, (kind, count) in zip(tokenise(pieces, inline, tokenizer), [*counts, ("", 0)], strict=True):
        ids += [*piece, *[of_type.get(kind, PLACEHOLDER)] * count]
    return [*ids, *after]


def values_of(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The "value" parts of a prompt in the order of their placeholders; those that are written out are not among them.
    """
    return [part for part in _parts(_before_answer(messages)) if part.get("type") == "value" and not _is_text(part)]


def part_types(messages: Sequence[Mapping[str, Any]]) -> set[str]:
    """The types of the parts of a prompt."""
    return {part["type"] for part in _parts(_before_answer(messages)) if "type" in part}


def with_part(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The conversation with one more part, in front of the user's first words, behind the signals that stand there."""
    first = next((number for number, turn in enumerate(messages) if turn["role"] == "user"), 0)
    changed = [dict(turn) for turn in messages]
    content = changed[first]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    behind = next((number for number, part in enumerate(parts) if part.get("type") == "text"), len(parts))
    changed[first]["content"] = [*parts[:behind], {"type": kind}, *parts[behind:]]
    return changed


def written_out(part: Mapping[str, Any], text: str | None = None) -> dict[str, Any]:
    """A "value" part that is text in every prompt: its number, or words about it; it gets no placeholder."""
    return {**part, "text": number_text(part) if text is None else text}


def number_text(part: Mapping[str, Any]) -> str:
    """The number of a "value" part as text: "4.2", "60"."""
    return show_number(part["value"] if "value" in part else part["matrix"][1][0])


def show_number(value: float) -> str:
    """A number as prompts show it, without an exponent or idle zeros for what tables hold."""
    return f"{value:.6g}"


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a message: signals ("ecg", "image") render to nothing, a "value" to its number."""
    return _text(content, frozenset(), frozenset())


def _before_answer(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages


def _parts(turns: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for turn in turns:
        if not isinstance(turn["content"], str):
            yield from turn["content"]


def _is_text(part: Mapping[str, Any]) -> bool:
    return part["type"] == "text" or (part["type"] == "value" and "text" in part)


def _counts(turns: Sequence[Mapping[str, Any]], placeholders: Mapping[str, int] | None) -> list[tuple[str, int]]:
    """Type and number of placeholders of each part that has any, in order."""
    if placeholders is None:
        return []
    found = [part["type"] for part in _parts(turns) if part.get("type") in INPUT_PARTS and not _is_text(part)]
    # A table may hold no number at all, and a number can be written out; a whole signal can do neither.
    lacking = [kind for kind, count in placeholders.items() if count > 0 and kind != "value" and kind not in found]
    extra = [kind for kind in found if kind != "value" and kind not in placeholders]
    if lacking or extra:
        what = f"no '{lacking[0]}' part, where a signal" if lacking else f"an '{extra[0]}' part, where no such signal"
        raise MedReportError(f"a prompt with {what} is to enter", "give the instructions this model was trained on, or "
                             "instructions of the same kind of store")
    return [(kind, placeholders[kind]) for kind in found if placeholders.get(kind, 0) > 0]


def _text(content: str | Sequence[Mapping[str, Any]], marked: Collection[str], nothing: Collection[str]) -> str:
    """The text of a message: `_MARK` for parts of the types `marked`, nothing for those in `nothing`."""
    if isinstance(content, str):
        return content.replace(_MARK, " ")
    unknown = {part.get("type") for part in content} - {"text", *INPUT_PARTS}
    if unknown:
        raise MedReportError(f"cannot render a message part of type {sorted(map(str, unknown))}",
                             "a part is {'type': 'text', …} or one of " + ", ".join(INPUT_PARTS))
    text, before = "", ""
    for part in content:
        kind = part["type"]
        if _is_text(part):
            piece = part["text"].replace(_MARK, " ")
        elif kind in marked:
            piece = _MARK
        else:
            piece = number_text(part) if kind == "value" and kind not in nothing else ""
        if not piece and kind != "value":
            continue
        glued = not before or "value" in (before, kind) or ({before, kind} == {"ecg", "image"})
        text += ("" if glued else "\n") + piece
        before = kind
    return text
