"""A chat template without the system message it says of its own accord."""

from __future__ import annotations

import json
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.templates import attempt, fill
from emgecg_cli.core.instructions.turns import ASKED, SAID, text_behind_answer, turn_end

USER = {"role": "user", "content": ASKED}
_ANSWER = {"role": "assistant", "content": SAID}


def without_system(tokenizer: Any, template: str) -> str:
    """The template with all that stands before the first user turn taken away, but for BOS.

    How a user turn opens is what stands between an answer's end and the next question.
    """
    before = fill(tokenizer, template, [USER], True).partition(ASKED)[0]
    bos = tokenizer.bos_token or ""
    start = bos if bos and before.startswith(bos) else ""
    if not before[len(start):].strip():
        return template
    again = {"role": "user", "content": ASKED[::-1]}
    whole, error = attempt(tokenizer, template, [USER, _ANSWER, again], True)
    between = (whole or "").partition(SAID)[2].partition(ASKED[::-1])[0]
    opening = _behind_the_end(tokenizer, between)
    if not opening.strip() or opening.strip() not in before:
        raise MedReportError("cannot tell the system message of the chat template from its user turn"
                             + (f" ({error})" if error else ""), "give --system TEXT, which takes its place")
    if start + opening == before:
        return template
    own, kept = literal(before), literal(start + opening)
    first = "(messages | selectattr('role', 'equalto', 'user') | first).content"
    # The exact text first; where the template writes today's date, all that stands before the question.
    made = (f"{{% set rendered %}}\n{template.removesuffix(chr(10))}{{%+ endset %}}{{% set asked = {first} %}}"
            f"{{% if rendered.startswith({own}) %}}{{{{ {kept} + rendered[({own} | length):] }}}}"
            f"{{% elif asked is string and asked | trim in rendered %}}"
            f"{{{{ {kept} + rendered[rendered.index(asked | trim):] }}}}{{% else %}}{{{{ rendered }}}}{{% endif %}}")
    if fill(tokenizer, made, [USER], True).partition(ASKED)[0] != start + opening:
        raise MedReportError("the chat template cannot be rendered without its system message",
                             "give --system TEXT, which takes its place")
    return made


def _behind_the_end(tokenizer: Any, between: str) -> str:
    """What follows the end of an answer, and the blanks that belong to that end, in the text up to the next question.
    """
    behind = text_behind_answer(tokenizer)
    end = turn_end(tokenizer)
    words = end.text or ("" if not behind.strip() else tokenizer.decode(list(end.ids)).strip())
    if words:
        behind, between = behind.partition(words)[2], between.partition(words)[2]
    blanks = behind[:len(behind) - len(behind.lstrip())]
    return between.removeprefix(blanks)


def literal(value: Any) -> str:
    """A value as Jinja reads it."""
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
