"""The one render function: what is prompt, what carries loss, and that training and generation agree."""

from __future__ import annotations

from typing import Any

import pytest

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import IGNORE_INDEX, PLACEHOLDER, render, render_prompt
from emgecg_cli.core.models.tiny_backbone import train_tokenizer

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


# -------------------------------------------------------------------------------------------------------- placeholders
TWO = [{"role": "user", "content": [{"type": "ecg"}, {"type": "text", "text": "Compare with"}, {"type": "ecg"}]},
       {"role": "assistant", "content": ANSWER}]


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE])
def test_each_signal_part_becomes_its_number_of_placeholders(tokenizer: Any, template: str | None) -> None:
    tokenizer.chat_template = template
    ids = render_prompt(TWO, tokenizer, [3, 2])
    runs = "".join("x" if token == PLACEHOLDER else "." for token in ids)
    assert [len(run) for run in runs.replace(".", " ").split()] == [3, 2]
    first, last = runs.index("x"), runs.rindex("x")
    assert "Compare with" in tokenizer.decode([token for token in ids[first:last] if token != PLACEHOLDER])
    rendered = render(TWO, tokenizer, 256, [3, 2])
    assert rendered.input_ids[:len(ids)] == ids and PLACEHOLDER not in rendered.labels
    tokenizer.chat_template = None


def test_a_prompt_keeps_its_words_and_its_bos_around_placeholders(tokenizer: Any) -> None:
    for template in (None, CHAT_TEMPLATE):
        tokenizer.chat_template = template
        with_signal = [token for token in render_prompt(MESSAGES, tokenizer, [1]) if token != PLACEHOLDER]
        assert tokenizer.decode(with_signal).replace("\n", "") == \
            tokenizer.decode(render_prompt(MESSAGES, tokenizer)).replace("\n", "")
    tokenizer.chat_template = None


def test_signals_and_signal_parts_must_be_as_many(tokenizer: Any) -> None:
    with pytest.raises(MedReportError, match="2 signal parts, where 1"):
        render_prompt(TWO, tokenizer, [3])
    with pytest.raises(MedReportError, match="0 signal parts, where 1"):
        render_prompt([{"role": "user", "content": "no signal \ufffc here"}, MESSAGES[1]], tokenizer, [3])


def test_tokens_a_tokenizer_adds_behind_a_text_stay_at_the_end_of_the_prompt(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    before = tokenizer.backend_tokenizer.post_processor
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)])
    try:
        for placeholders in (None, [2]):
            ids = render_prompt(MESSAGES, tokenizer, placeholders)
            assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
            assert ids.count(tokenizer.bos_token_id) == ids.count(tokenizer.eos_token_id) == 1
    finally:
        tokenizer.backend_tokenizer.post_processor = before
