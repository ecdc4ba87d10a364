"""The one render function: what is prompt, what carries loss, and that training and generation agree."""

from __future__ import annotations

from typing import Any

import pytest

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import (
    IGNORE_INDEX,
    PLACEHOLDER,
    render,
    render_prompt,
    values_of,
    written_out,
)
from emgecg_cli.core.instructions.template_settings import chat_template
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
TWO: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "ecg"}, {"type": "text", "text": "Compare with"}, {"type": "ecg"}]},
    {"role": "assistant", "content": ANSWER}]


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE])
def test_each_signal_part_becomes_its_number_of_placeholders(tokenizer: Any, template: str | None) -> None:
    tokenizer.chat_template = template
    ids = render_prompt(TWO, tokenizer, {"ecg": 3})
    runs = "".join("x" if token == PLACEHOLDER else "." for token in ids)
    assert [len(run) for run in runs.replace(".", " ").split()] == [3, 3]
    first, last = runs.index("x"), runs.rindex("x")
    assert "Compare with" in tokenizer.decode([token for token in ids[first:last] if token != PLACEHOLDER])
    rendered = render(TWO, tokenizer, 256, {"ecg": 3})
    assert rendered.input_ids[:len(ids)] == ids and PLACEHOLDER not in rendered.labels
    tokenizer.chat_template = None


def test_the_prompt_of_an_ecg_token_for_token(tokenizer: Any) -> None:
    """Each side of the placeholders is tokenised for itself; what every run so far was trained on."""
    def own(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    behind = "\nReport this ECG.\n<|assistant|>\n"
    for count in (1, 8):
        assert render_prompt(MESSAGES, tokenizer, {"ecg": count}) == \
            own("<|user|>\n") + [PLACEHOLDER] * count + own(behind)
    assert render_prompt(MESSAGES, tokenizer) == render_prompt(MESSAGES, tokenizer, {"ecg": 0}) == \
        own("<|user|>" + behind)


def test_a_prompt_keeps_its_words_and_its_bos_around_placeholders(tokenizer: Any) -> None:
    for template in (None, CHAT_TEMPLATE):
        tokenizer.chat_template = template
        with_signal = [token for token in render_prompt(MESSAGES, tokenizer, {"ecg": 1}) if token != PLACEHOLDER]
        assert tokenizer.decode(with_signal).replace("\n", "") == \
            tokenizer.decode(render_prompt(MESSAGES, tokenizer)).replace("\n", "")
    tokenizer.chat_template = None


def test_signals_and_signal_parts_must_agree(tokenizer: Any) -> None:
    without: list[dict[str, Any]] = [{"role": "user", "content": "no signal \ufffc here"}, MESSAGES[1]]
    with pytest.raises(MedReportError, match="no 'ecg' part, where a signal"):
        render_prompt(without, tokenizer, {"ecg": 3})
    with pytest.raises(MedReportError, match="an 'ecg' part, where no such signal"):
        render_prompt(MESSAGES, tokenizer, {"value": 2})
    tokenizer.chat_template = "{{ messages[0]['content'] }}{{ messages[0]['content'] }}"
    with pytest.raises(MedReportError, match="1 signal parts, of which its chat template shows 2"):
        render_prompt(MESSAGES, tokenizer, {"ecg": 3})
    tokenizer.chat_template = None


# -------------------------------------------------------------------------------------------------------------- values
def value(number: float, **more: Any) -> dict[str, Any]:
    return {"type": "value", "item": "median|motor|wrist|apb|lat", "side": "left", "value": number} | more


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


MATRIX = [[6.0] * 7, [4.25] * 7, [2.0] * 7]
TABLE: list[dict[str, Any]] = [
    {"role": "user", "content": [said("Lat|"), value(4.2), said("|NaN|"), value(60.0), value(0.05), said("\nEnd")]},
    {"role": "assistant", "content": ANSWER}]


def shown(messages: list[dict[str, Any]], tokenizer: Any, placeholders: dict[str, int] | None = None) -> str:
    """The prompt with * for each placeholder of the first type of part that has any, and + for those of the second."""
    text, run = "", []
    for token in [*render_prompt(messages, tokenizer, placeholders), None]:
        if token is not None and token > PLACEHOLDER:
            run.append(token)
            continue
        text, run = text + tokenizer.decode(run) + {PLACEHOLDER: "*", PLACEHOLDER - 1: "+", None: ""}[token], []
    return text.removeprefix("<|user|>\n").removesuffix("\n<|assistant|>\n")


def test_values_stand_inline_as_numbers_placeholders_or_nothing(tokenizer: Any) -> None:
    assert shown(TABLE, tokenizer) == shown(TABLE, tokenizer, {}) == "Lat|4.2|NaN|600.05\nEnd"
    assert shown(TABLE, tokenizer, {"value": 2}) == "Lat|**|NaN|****\nEnd"
    assert shown(TABLE, tokenizer, {"value": 0}) == "Lat||NaN|\nEnd"
    assert [part["value"] for part in values_of(TABLE)] == [4.2, 60.0, 0.05]
    assert values_of(MESSAGES) == []


def test_a_value_written_out_has_no_placeholder(tokenizer: Any) -> None:
    first, *rest = TABLE[0]["content"]
    parts = [first, written_out(rest[0]), rest[1], written_out(rest[2], "a bit high"),
             {"type": "value", "item": "x", "matrix": MATRIX}]
    own: list[dict[str, Any]] = [{"role": "user", "content": parts}, TABLE[1]]
    assert shown(own, tokenizer, {"value": 1}) == "Lat|4.2|NaN|a bit high*"
    assert shown(own, tokenizer) == "Lat|4.2|NaN|a bit high4.25"
    assert values_of(own) == [{"type": "value", "item": "x", "matrix": MATRIX}]


def test_tables_and_signals_in_one_prompt(tokenizer: Any) -> None:
    parts = [{"type": "ecg"}, said("Lat|"), value(4.2), said("|"), said("Next.")]
    both: list[dict[str, Any]] = [{"role": "user", "content": parts}, TABLE[1]]
    assert shown(both, tokenizer, {"ecg": 1, "value": 2}) == "*\nLat|++|\nNext."
    assert shown(both, tokenizer, {"value": 2, "ecg": 0}) == "Lat|**|\nNext."  # a record without its ecg
    assert shown(both, tokenizer, {"ecg": 1}) == "*\nLat|4.2|\nNext."
    no_value: list[dict[str, Any]] = [{"role": "user", "content": [said("Not one number.")]}, TABLE[1]]
    assert shown(no_value, tokenizer, {"value": 2}) == "Not one number."


def test_no_text_can_pass_for_a_value(tokenizer: Any) -> None:
    hostile: list[dict[str, Any]] = [
        {"role": "user", "content": [said("\ufffc<unk>"), value(1.0), said("<unk>\ufffc")]},
        {"role": "assistant", "content": "\ufffc<unk>"}]
    rendered = render(hostile, tokenizer, 256, {"value": 2})
    assert rendered.input_ids.count(PLACEHOLDER) == 2 and PLACEHOLDER not in rendered.labels
    assert shown(hostile, tokenizer, {"value": 2}) == " <unk>**<unk> "


def test_sentencepiece_puts_no_blank_into_a_line(tokenizer: Any) -> None:
    """LLaMA-2's normaliser puts a blank before every text it is given; within a row of a table there is none."""
    from tokenizers import normalizers, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    before = backend.normalizer, backend.pre_tokenizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.normalizer = normalizers.Prepend(" ")
    try:
        ids = render_prompt(TABLE, tokenizer, {"value": 2})
        words = tokenizer.decode([token for token in ids if token != PLACEHOLDER])
        assert words == "<|user|> \nLat||NaN|\nEnd\n<|assistant|> \n"  # the blanks behind tags are the normaliser's
        ecg = render_prompt(MESSAGES, tokenizer, {"ecg": 2})  # as it always was
        assert tokenizer.decode([token for token in ecg if token != PLACEHOLDER]).count(" \nReport") == 1
    finally:
        backend.normalizer, backend.pre_tokenizer = before


def test_the_template_of_chinese_alpaca_2(tokenizer: Any) -> None:
    tokenizer.chat_template = chat_template("chinese-alpaca-2")
    ids = render_prompt(TABLE, tokenizer, {"value": 1})
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode([token for token in ids[1:] if token != PLACEHOLDER]) == (
        "[INST] <<SYS>>\nYou are a helpful assistant. 你是一个乐于助人的助手。\n<</SYS>>\n\nLat||NaN|\nEnd [/INST]")
    tokenizer.chat_template = None
    with pytest.raises(MedReportError, match="did you mean 'chinese-alpaca-2'"):
        chat_template("chinese-alpaca")


def test_tokens_a_tokenizer_adds_behind_a_text_stay_at_the_end_of_the_prompt(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    before = tokenizer.backend_tokenizer.post_processor
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)])
    try:
        for placeholders in (None, {"ecg": 2}):
            ids = render_prompt(MESSAGES, tokenizer, placeholders)
            assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
            assert ids.count(tokenizer.bos_token_id) == ids.count(tokenizer.eos_token_id) == 1
    finally:
        tokenizer.backend_tokenizer.post_processor = before
