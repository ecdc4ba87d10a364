"""How turns end in chat templates of many kinds, what is set in one, and templates that do not do as they should."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from chat_backbone import CHATML, GEMMA, WORDS, make_tokenizer

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import templates
from emgecg_cli.core.instructions.render import IGNORE_INDEX, PLACEHOLDER, render, render_prompt
from emgecg_cli.core.instructions.template_settings import settle_template
from emgecg_cli.core.instructions.turns import own_end, turn_end, turn_of
from emgecg_cli.core.models.tiny_backbone import train_tokenizer
from emgecg_cli.core.recipes import parse_options, resolve_train_config

ANSWER = "sinus rhythm."
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "ecg"}, {"type": "text", "text": "Report this ECG."}]},
    {"role": "assistant", "content": ANSWER}]
EACH = "{% for m in messages %}"
BEGIN = "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
LLAMA3 = ("{{ bos_token }}{% set today = strftime_now('%d %b %Y') %}<|im_start|>system<|im_start|>\n\n"
          "Today: {{ today }}\n\n{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
          "{% set messages = messages[1:] %}{% endif %}<|eot_id|>" + EACH
          + "<|im_start|>{{ m['role'] }}<|im_start|>\n\n{{ m['content'] }}<|eot_id|>{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant<|im_start|>\n\n{% endif %}")
PHI = (EACH + "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
       "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}{{ eos_token }}{% endif %}")
ENDS: dict[str, tuple[str | None, str, str | None]] = {  # template, what is trained behind an answer, the end in words
    "gemma": (GEMMA, "<end_of_turn>", None), "chatml": (CHATML, "<|im_end|>", None), "phi": (PHI, "<|end|>", None),
    "llama-3": (LLAMA3, "<|eot_id|>", None), "words": (WORDS, "\n###</s>", "###"), "none at all": (None, "</s>", None),
    "newline and eos": (EACH + "[{{ m['role'] }}] {{ m['content'] }}\n{{ eos_token }}" + BEGIN, "\n</s>", None),
    "words, then a token": (EACH + "[{{ m['role'] }}] {{ m['content'] }} END<|im_end|>\n" + BEGIN, " END<|im_end|>",
                            None),
    "blanks only": (EACH + "[{{ m['role'] }}] {{ m['content'] }}\n\n" + BEGIN, "</s>", None),
    "no end": (EACH + "[{{ m['role'] }}]{{ m['content'] }}" + BEGIN, "</s>", None),
    "shows no answers": (EACH + "{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}" + BEGIN, "</s>", None),
    "refuses answers": (EACH + "{% if m['role'] != 'user' %}{{ raise_exception('no') }}{% endif %}{{ m['content'] }}"
                        + BEGIN, "</s>", None),
}


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("name", ENDS)
def test_an_answer_is_trained_to_end_as_its_template_ends_it(name: str, special: bool) -> None:
    template, behind, words = ENDS[name]
    tokenizer = make_tokenizer(template, special)
    end = turn_end(tokenizer)
    rendered = render(MESSAGES, tokenizer, 512)
    kept = [token for token in rendered.labels if token != IGNORE_INDEX]
    assert tokenizer.decode(kept) == ANSWER + behind and kept[-len(end.ids):] == list(end.ids)
    assert set(end.stop) == {tokenizer.eos_token_id, end.ids[-1]} and end.text == words
    assert end.report(kept, tokenizer) == (ANSWER, True)
    pad = tokenizer.pad_token_id
    assert end.report([*kept, pad, pad], tokenizer) == (ANSWER, True)
    assert end.report(kept[:-len(end.ids)], tokenizer) == (ANSWER, False)
    assert end.report([*kept[:-len(end.ids)], tokenizer.eos_token_id], tokenizer) == (ANSWER, True)


@pytest.mark.parametrize("name", ["gemma", "chatml", "words", "newline and eos"])
def test_an_answer_that_is_cut_has_no_piece_of_an_end(name: str) -> None:
    tokenizer = make_tokenizer(ENDS[name][0])
    end, whole = turn_end(tokenizer), render(MESSAGES, tokenizer, 512)
    for less in range(1, len(end.ids) + 1):
        cut = render(MESSAGES, tokenizer, len(whole.input_ids) - less)
        assert cut.truncated and cut.input_ids == whole.input_ids[:len(cut.input_ids)]
        assert not set(cut.labels) & {tokenizer.eos_token_id, end.ids[-1]}
        assert less == len(end.ids) or len(cut.input_ids) <= len(whole.input_ids) - len(end.ids)


def test_a_checkpoint_may_end_with_more_tokens_and_a_tokenizer_without_eos_has_one_of_them() -> None:
    tokenizer = make_tokenizer()
    turn, other, eos = (tokenizer.convert_tokens_to_ids(t) for t in ("<end_of_turn>", "<|end|>", "</s>"))
    end = turn_end(tokenizer, [other, 99_999, -1])
    assert set(end.stop) == {turn, other, eos} and end.ids == (turn,)
    assert end.report([7, other, 8], tokenizer)[1]
    tokenizer.eos_token = None
    assert own_end(tokenizer, [other]) == turn
    tokenizer.chat_template = None
    assert own_end(tokenizer, [99_999, other]) == other and own_end(tokenizer) is None


def test_runs_of_before_end_as_they_learnt_and_where_their_template_ends() -> None:
    tokenizer = make_tokenizer()
    old = turn_of({}, tokenizer)
    turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert old.ids == (tokenizer.eos_token_id,) and set(old.stop) == {tokenizer.eos_token_id, turn}
    assert turn_of({"turn": turn_end(tokenizer, [9]).details()}, tokenizer) == turn_end(tokenizer, [9])


def test_a_report_that_holds_the_words_of_an_end_is_refused() -> None:
    with pytest.raises(MedReportError, match="a report contains '###'"):
        render([MESSAGES[0], {"role": "assistant", "content": "a ### b"}], make_tokenizer(WORDS), 512)


@pytest.mark.parametrize("name", [name for name in ENDS if ENDS[name][0]])
def test_texts_are_those_of_transformers(name: str) -> None:
    tokenizer = make_tokenizer(ENDS[name][0])
    turns = [{"role": "user", "content": "Report\nthis \"ECG\" ü."}]
    expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    today = time.strftime("%d %b %Y")
    assert templates.fill(tokenizer, tokenizer.chat_template, turns, True) == expected.replace(today, "26 Jul 2024")


# ------------------------------------------------------------------------------------------------------- what is set
def shown(tokenizer: Any) -> str:
    return tokenizer.decode([token for token in render_prompt(MESSAGES, tokenizer, {"ecg": 1}) if token != PLACEHOLDER])


def test_an_option_is_part_of_the_template_from_then_on(tmp_path: Path) -> None:
    options = parse_options(["enable_thinking=false"])
    assert options == {"enable_thinking": False}
    tokenizer = make_tokenizer(CHATML)
    settle_template(tokenizer, "own", options, None)
    assert shown(tokenizer).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    plain = [{"role": "user", "content": "x"}]
    tokenizer.save_pretrained(tmp_path)
    alone = type(tokenizer).from_pretrained(tmp_path).apply_chat_template(plain, tokenize=False,
                                                                          add_generation_prompt=True)
    assert alone.endswith("</think>\n\n")
    with pytest.raises(MedReportError, match="reads no such variable") as told:
        settle_template(make_tokenizer(CHATML), "own", {"thinking": True}, None)
    assert told.value.hint == "it reads enable_thinking"
    with pytest.raises(MedReportError, match="has no chat template to read it"):
        settle_template(make_tokenizer(None), "own", options, None)


@pytest.mark.parametrize(("text", "value"), [("a=1", 1), ("a=-0.5", -0.5), ("a=null", None), ("a=low", "low"),
                                             ("a=", ""), ("a=[1]", "[1]"), ("a=NaN", "NaN"), ('a=%} "\\ü', '%} "\\ü')])
def test_options_are_words_of_json_or_texts(text: str, value: object) -> None:
    assert parse_options([text]) == {"a": value} and type(parse_options([text])["a"]) is type(value)
    tokenizer = make_tokenizer("{{ messages[0].content }}|{{ a }}|{{ a is none }}")
    settle_template(tokenizer, "own", {"a": value}, None)
    assert shown(tokenizer).endswith(f"|{value}|{value is None}")


def test_options_that_are_none_are_refused() -> None:
    for wrong in ("enable_thinking", "=1", "a b=1"):
        with pytest.raises(MedReportError, match="--template-option is"):
            parse_options([wrong])
    with pytest.raises(MedReportError, match="there twice"):
        parse_options(["a=1", "a=2"])


@pytest.mark.parametrize(("begins", "tag", "hint"), [
    ("<think>\n", "<think>", "no option that closes it"),
    ("<think>\n{% if enable_thinking is defined and not enable_thinking %}\n</think>\n{% endif %}", "<think>",
     "add --template-option enable_thinking=false"),
    ("{% if not no_thoughts %}<my-plan>{% endif %}{# </my-plan> #}", "<my-plan>",
     "add --template-option no_thoughts=true"),
    ("{% if effort != 'none' %}[THINK]{% endif %}", "[THINK]", "add --template-option effort=none"),
    ("<|START_THINKING|>", "<|START_THINKING|>", "no option that closes it"), ("◁think▷", "◁think▷", "no option")])
def test_a_tag_left_open_is_refused_with_the_option_that_closes_it(begins: str, tag: str, hint: str) -> None:
    template = GEMMA.replace("<start_of_turn>model\n{% endif %}", f"<start_of_turn>model\n{begins}{{% endif %}}")
    with pytest.raises(MedReportError) as told:
        settle_template(make_tokenizer(template), "own", None, None)
    assert f"answer with {tag} and leaves it open" in told.value.message and hint in str(told.value.hint)


def test_marks_of_a_turn_are_no_tags_that_are_left_open() -> None:
    wrapped = EACH + "<{{ m['role'] }}>{{ m['content'] }}</{{ m['role'] }}>{% endfor %}" \
        "{% if add_generation_prompt %}<assistant>{% endif %}{# </assistant> #}"
    eos = EACH + "<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}" \
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    for template in (GEMMA, CHATML, LLAMA3, PHI, WORDS, wrapped, eos):
        settle_template(make_tokenizer(template), "own", None, None)
    settle_template(make_tokenizer(CHATML), "own", {"enable_thinking": False}, None)


def test_named_templates() -> None:
    tokenizer = make_tokenizer({"default": GEMMA, "rag": CHATML})
    assert shown(tokenizer).endswith("<start_of_turn>model\n") and turn_end(tokenizer).ids == turn_end(
        make_tokenizer(GEMMA)).ids
    settle_template(tokenizer, "rag", None, None)
    assert tokenizer.chat_template == CHATML
    settle_template(tokenizer, "chinese-alpaca-2", None, None)
    assert turn_end(tokenizer).ids == (tokenizer.eos_token_id,)
    with pytest.raises(MedReportError, match="no chat template 'rgg'; did you mean 'rag'") as told:
        settle_template(make_tokenizer({"default": GEMMA, "rag": CHATML}), "rgg", None, None)
    assert str(told.value.hint).startswith("available: own, ")
    with pytest.raises(MedReportError, match="several chat templates and no default: tool, rag") as told:
        settle_template(make_tokenizer({"tool": GEMMA, "rag": CHATML}), "own", None, None)
    assert told.value.hint == "choose one: --chat-template tool"


SYSTEM = "Be brief. 'Quoted', \"too\"\n{{ not jinja }} ü"


@pytest.mark.parametrize("template", [CHATML, LLAMA3, PHI, GEMMA, None, "chinese-alpaca-2"])
def test_a_system_message_of_ones_own(template: str | None) -> None:
    tokenizer = make_tokenizer(None if template == "chinese-alpaca-2" else template)
    name = "chinese-alpaca-2" if template == "chinese-alpaca-2" else "own"
    settle_template(tokenizer, name, None, SYSTEM)
    text = shown(tokenizer)
    assert text.count("Be brief.") == 1 and "{{ not jinja }} ü" in text and "helpful" not in text
    assert text.index("Be brief.") < text.index("Report this ECG.")
    once = tokenizer.chat_template
    again = templates.fill(tokenizer, once, [{"role": "system", "content": "Other."},
                                             {"role": "user", "content": "x"}], True)
    assert "Other." in again and "Be brief." not in again


def test_a_system_message_without_a_template_changes_no_other_token() -> None:
    from tokenizers.processors import TemplateProcessing

    for around in (False, True):
        tokenizer = make_tokenizer(None)
        if around:
            tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
        before = render(MESSAGES, tokenizer, 512, {"ecg": 2})
        settle_template(tokenizer, "own", None, "Be brief.")
        after = render(MESSAGES, tokenizer, 512, {"ecg": 2})
        added = tokenizer("<|system|>\nBe brief.\n", add_special_tokens=False)["input_ids"]
        assert after.input_ids == [*before.input_ids[:around], *added, *before.input_ids[around:]]
        assert turn_end(tokenizer).ids == (tokenizer.eos_token_id,)


@pytest.mark.parametrize(("template", "prompt"), [
    (CHATML, "<|im_start|>user\nReport this ECG.<|im_end|>\n<|im_start|>assistant\n"),
    (LLAMA3, "<s><|im_start|>user<|im_start|>\n\nReport this ECG.<|eot_id|><|im_start|>assistant<|im_start|>\n\n"),
    ("chinese-alpaca-2", "<s>[INST] Report this ECG. [/INST]"),
    (GEMMA, "<s><start_of_turn>user\nReport this ECG.<end_of_turn>\n<start_of_turn>model\n"),
    (PHI, "<|im_start|>user\nReport this ECG.<|end|>\n<|im_start|>assistant\n"),
    (None, "<|user|>\nReport this ECG.\n<|assistant|>\n")])
def test_no_system_message_at_all(template: str | None, prompt: str) -> None:
    named = template == "chinese-alpaca-2"
    tokenizer = make_tokenizer(None if named else template)
    settle_template(tokenizer, "chinese-alpaca-2" if named else "own", None, "None" if named else "none")
    plain = [{"role": "user", "content": "Report this ECG."}]
    assert tokenizer.decode(render_prompt(plain, tokenizer)) == prompt
    if tokenizer.chat_template:  # with transformers alone too, whatever day it is
        assert tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True) == prompt


def test_a_template_without_a_place_for_a_system_message_says_so() -> None:
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    ignores = GEMMA.replace(EACH, "{% for m in messages if m['role'] != 'system' %}")
    for template, why in ((refuses + GEMMA, "System role not supported"), (ignores, "it does not show it")):
        with pytest.raises(MedReportError, match="takes no system message") as told:
            settle_template(make_tokenizer(template), "own", None, "Be brief.")
        assert why in told.value.message and "leave --system out" in str(told.value.hint)
    with pytest.raises(MedReportError, match="--system is empty"):
        resolve_train_config(backbone="tiny", system=" ")


# ------------------------------------------------------------------------------------------------------ what is wrong
FAULTS = {"{{ raise_exception('Roles must alternate') }}": "Roles must alternate", "{% if %}": "line 1: ",
          "\n{% for m in messages %}": "line 2: ", "{{ messages[0].meta.name }}": "no attribute 'meta'",
          "{{ 1 / 0 }}": "division",
          "{{ raise_exception('long ' * 999) }}": "lo…",
          "{{ 'a' * 10 ** 10 }}": "memory", "{{ messages | nothing }}": "nothing",
          "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "calls itself",
          "{% for i in range(99999) %}{{ 'a' * 99 }}{% endfor %}": "4,000,000 characters",
          "{{ ''.__class__.__mro__[1].__subclasses__() }}": "unsafe", "#" * 1_000_001: "longer than"}


@pytest.mark.parametrize("template", FAULTS, ids=lambda text: text[:30])
def test_what_is_wrong_with_a_template_is_said(template: str) -> None:
    with pytest.raises(MedReportError) as told:
        settle_template(make_tokenizer(template), "own", None, None)
    assert FAULTS[template] in told.value.message and "chat template" in told.value.message and told.value.hint


def test_a_template_that_never_ends_is_stopped_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "PATIENCE", 1.0)
    forever = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    late = "{% if 'flutter' in messages[0].content %}" + forever + "{% endif %}{{ messages[0].content }}"
    began = time.monotonic()
    for template, prompt in ((forever, "x"), (late, "flutter")):
        with pytest.raises(MedReportError, match="does not end"):
            render_prompt([{"role": "user", "content": prompt}], make_tokenizer(template))
    assert time.monotonic() - began < 20
    plain = train_tokenizer(["x"], 300)
    plain.chat_template = late
    assert plain.decode(render_prompt([{"role": "user", "content": "x"}], plain)) == "x"
