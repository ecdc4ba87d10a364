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


@dataclass(frozen=True)
class Rendered:
    """Token ids of one conversation and its labels (T), `IGNORE_INDEX` where no loss falls.

    `truncated`: the answer was cut at the maximal length; it then has no EOS, lest the model learns to stop there.
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool


def render(messages: Sequence[Mapping[str, Any]], tokenizer: Any, max_length: int) -> Rendered:
    """Render a conversation that ends with the assistant's answer.

    Raises MedReportError when the prompt alone fills `max_length`.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise MedReportError("a training conversation must end with an assistant message", "rebuild the instructions")
    prompt = render_prompt(messages, tokenizer)
    answer = tokenizer(text_of(messages[-1]["content"]), add_special_tokens=False)["input_ids"]
    answer = [*answer, tokenizer.eos_token_id]
    room = max_length - len(prompt)
    if room < 2:
        raise MedReportError(f"the prompt is {len(prompt)} tokens long, the maximal length {max_length}",
                             "give a larger --max-length")
    return Rendered(prompt + answer[:room], [IGNORE_INDEX] * len(prompt) + answer[:room], len(answer) > room)


def render_prompt(messages: Sequence[Mapping[str, Any]], tokenizer: Any) -> list[int]:
    """Token ids of everything before the last assistant message, up to where the answer begins.

    The tokenizer's own chat template where it has one, else MEIT's `<|user|>` and `<|assistant|>` lines (spec A2).
    """
    turns = messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
    plain = [{"role": turn["role"], "content": text_of(turn["content"])} for turn in turns]
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    text = "".join(f"<|{turn['role']}|>\n{turn['content']}\n" for turn in plain) + "<|assistant|>\n"
    return list(tokenizer(text)["input_ids"])


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a message. A part of type "ecg" renders to nothing: its signal enters beside the text."""
    if isinstance(content, str):
        return content
    unknown = {part.get("type") for part in content} - {"text", "ecg"}
    if unknown:
        raise MedReportError(f"cannot render a message part of type {sorted(map(str, unknown))}",
                             "a part is {'type': 'text', …} or {'type': 'ecg'}")
    return "\n".join(part["text"] for part in content if part["type"] == "text")
