"""The one render function: what is prompt, what carries loss, and that training and generation agree."""

from __future__ import annotations

from typing import Any

import pytest

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import IGNORE_INDEX, render, render_prompt
from emgecg_cli.core.models.backbones import train_tokenizer

ANSWER = "sinus rhythm. äöü 72 bpm."
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "ecg"}, {"type": "text", "text": "Report this ECG."}]},
    {"role": "assistant", "content": ANSWER}]
CHAT_TEMPLATE = ("{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
                 "{% if add_generation_prompt %}[assistant]{% endif %}")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["Report this ECG.", ANSWER] * 5, vocabulary=300)


def test_meits_template_word_for_word(tokenizer: Any) -> None:
    rendered = render(MESSAGES, tokenizer, 256)
    assert tokenizer.decode(rendered.input_ids) == f"<|user|>\nReport this ECG.\n<|assistant|>\n{ANSWER}</s>"


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE])
def test_only_the_answer_and_its_eos_carry_loss(tokenizer: Any, template: str | None) -> None:
    tokenizer.chat_template = template
    rendered = render(MESSAGES, tokenizer, 256)
    kept = [token for token in rendered.labels if token != IGNORE_INDEX]
    assert tokenizer.decode(kept) == ANSWER + "</s>"
    assert kept == rendered.input_ids[-len(kept):] and not rendered.truncated
    assert rendered.labels[:-len(kept)] == [IGNORE_INDEX] * (len(rendered.labels) - len(kept))
    tokenizer.chat_template = None


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE])
def test_generation_starts_from_the_very_prompt_of_training(tokenizer: Any, template: str | None) -> None:
    tokenizer.chat_template = template
    prompt = render_prompt(MESSAGES, tokenizer)
    assert render(MESSAGES, tokenizer, 256).input_ids[:len(prompt)] == prompt
    assert render_prompt(MESSAGES[:1], tokenizer) == prompt
    tokenizer.chat_template = None


def test_a_chat_templates_own_bos_is_not_doubled(tokenizer: Any) -> None:
    tokenizer.chat_template = CHAT_TEMPLATE
    assert render_prompt(MESSAGES, tokenizer).count(tokenizer.bos_token_id) == 1
    tokenizer.chat_template = None


def test_a_cut_answer_has_no_eos_and_says_so(tokenizer: Any) -> None:
    whole = render(MESSAGES, tokenizer, 256)
    cut = render(MESSAGES, tokenizer, len(whole.input_ids) - 1)
    assert cut.truncated and cut.input_ids == whole.input_ids[:-1] and tokenizer.eos_token_id not in cut.labels
    assert not render(MESSAGES, tokenizer, len(whole.input_ids)).truncated


def test_what_cannot_be_rendered_is_refused(tokenizer: Any) -> None:
    with pytest.raises(MedReportError, match="maximal length 8"):
        render(MESSAGES, tokenizer, 8)
    with pytest.raises(MedReportError, match="assistant"):
        render(MESSAGES[:1], tokenizer, 256)
    with pytest.raises(MedReportError, match="video"):
        render([{"role": "user", "content": [{"type": "video"}]}, MESSAGES[1]], tokenizer, 256)
