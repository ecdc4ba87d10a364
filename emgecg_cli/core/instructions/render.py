"""The one place of chat template and loss mask: `train` and `generate` render with the same function.

Prompt and answer are tokenised apart and joined, so the prompt of a training sequence is, token for token, the prompt
that generation starts from. Only the answer's tokens and its EOS carry loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emgecg_cli.core.errors import MedReportError

IGNORE_INDEX = -100  # what torch's cross-entropy, and so transformers, leaves out of the loss
PLACEHOLDER = -1  # stands in input_ids where a fusion puts a signal token; no vocabulary has it
SIGNAL_PARTS = ("ecg", "value", "image")
_NOTHING: tuple[list[int], list[int]] = ([], [])
_MARK = "\ufffc"  # object replacement character: where a signal part stands, until the text is tokenised


@dataclass(frozen=True)
class Rendered:
    """Token ids of one conversation and its labels (T), `IGNORE_INDEX` where no loss falls.

    `truncated`: the answer was cut at the maximal length; it then has no EOS, lest the model learns to stop there.
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool


def render(messages: Sequence[Mapping[str, Any]], tokenizer: Any, max_length: int,
           placeholders: Sequence[int] | None = None) -> Rendered:
    """Render a conversation that ends with the assistant's answer; `placeholders` as in `render_prompt`.

    Raises MedReportError when the prompt alone fills `max_length`.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise MedReportError("a training conversation must end with an assistant message", "rebuild the instructions")
    prompt = render_prompt(messages, tokenizer, placeholders)
    answer = tokenizer(text_of(messages[-1]["content"]), add_special_tokens=False)["input_ids"]
    answer = [*answer, tokenizer.eos_token_id]
    room = max_length - len(prompt)
    if room < 2:
        raise MedReportError(f"the prompt is {len(prompt)} tokens long, the maximal length {max_length}",
                             "give a larger --max-length")
    return Rendered(prompt + answer[:room], [IGNORE_INDEX] * len(prompt) + answer[:room], len(answer) > room)


def render_prompt(messages: Sequence[Mapping[str, Any]], tokenizer: Any,
                  placeholders: Sequence[int] | None = None) -> list[int]:
    """Token ids of everything before the last assistant message, up to where the answer begins.

    The tokenizer's own chat template where it has one, else MEIT's `<|user|>` and `<|assistant|>` lines (spec A2).
    `placeholders` says how many signal tokens stand for the first, second, … signal part of the conversation; each part
    becomes as many `PLACEHOLDER` ids. Without it, signals enter beside the text and their parts render to nothing.
    """
    turns = messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
    mark = "" if placeholders is None else _MARK
    plain = [{"role": turn["role"], "content": text_of(turn["content"], mark)} for turn in turns]
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        before, after = _NOTHING
    else:
        text = "".join(f"<|{turn['role']}|>\n{turn['content']}\n" for turn in plain) + "<|assistant|>\n"
        before, after = _added_around(tokenizer)
    pieces = text.split(_MARK) if mark else [text]
    counts = list(placeholders or [])
    if len(pieces) - 1 != len(counts):
        raise MedReportError(f"a prompt with {len(pieces) - 1} signal parts, where {len(counts)} signals are to enter",
                             "rebuild the instructions")
    ids = list(before)
    for piece, count in zip(pieces, [*counts, 0], strict=True):
        ids += [*tokenizer(piece, add_special_tokens=False)["input_ids"], *[PLACEHOLDER] * count]
    return [*ids, *after]


def _added_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens a tokenizer puts before and behind a text of its own accord (BOS; EOS for T5 and BART)."""
    bare = tokenizer("ecg", add_special_tokens=False)["input_ids"]
    dressed = tokenizer("ecg")["input_ids"]
    start = next(i for i in range(len(dressed)) if dressed[i:i + len(bare)] == bare)
    return dressed[:start], dressed[start + len(bare):]


def text_of(content: str | Sequence[Mapping[str, Any]], mark: str = "") -> str:
    """The text of a message. A signal part ("ecg", "value", "image") renders to `mark`."""
    if isinstance(content, str):
        return content.replace(_MARK, " ")
    unknown = {part.get("type") for part in content} - {"text", *SIGNAL_PARTS}
    if unknown:
        raise MedReportError(f"cannot render a message part of type {sorted(map(str, unknown))}",
                             "a part is {'type': 'text', …} or one of " + ", ".join(SIGNAL_PARTS))
    parts = [part["text"].replace(_MARK, " ") if part["type"] == "text" else mark for part in content]
    return "\n".join(part for part in parts if part)
