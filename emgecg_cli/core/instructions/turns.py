"""How a turn of the assistant begins and ends in a chat template, found by rendering one.

A chat model ends its turn as its template does: with `<end_of_turn>`, `<|eot_id|>`, `<|im_end|>`, "</s>" behind a
newline, or plain words such as "###". That is often another token than the tokenizer's EOS, which then never comes, and
the model goes on with turns it invents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.pieces import tokenise
from emgecg_cli.core.instructions.templates import attempt, names_read, own_template, place_of

ASKED, SAID = "Kq7vAsked", "Kq7vSaid"  # words no template has, to find what stands around them
_TAGS = ((re.compile(r"<([A-Za-z][\w:-]*)>"), "</{}>"), (re.compile(r"\[([A-Z][A-Z_]*)\]"), "[/{}]"),
         (re.compile(r"◁([a-z]+)▷"), "◁/{}▷"), (re.compile(r"<\|START_([A-Z_]+)\|>"), "<|END_{}|>"),
         (re.compile(r"<\|begin_of_(\w+)\|>"), "<|end_of_{}|>"))
_THOUGHTS = {"think", "thinking", "thought", "reasoning", "reason", "analysis", "scratchpad"}
_TRIED: tuple[Any, ...] = (False, True, "none", "off", "no", 0)


@dataclass(frozen=True)
class TurnEnd:
    """How an answer ends: `ids` are the tokens training puts behind it, any of `stop` ends a generated one.

    `text` is an end in plain words ("###"), which any tokens may spell; None where the end is a token of its own.
    """

    ids: tuple[int, ...]
    stop: tuple[int, ...]
    text: str | None = None

    def shown(self, tokenizer: Any) -> str:
        """The end as shown to the user; nothing if it is the tokenizer's EOS alone."""
        return "" if self.ids == (tokenizer.eos_token_id,) else self.text or str(tokenizer.decode(list(self.ids)))

    def details(self) -> dict[str, Any]:
        """As a run's manifest says it; `turn_of` reads it."""
        return {"end": list(self.ids), "stop": list(self.stop), "text": self.text}

    def report(self, ids: Sequence[int], tokenizer: Any) -> tuple[str, bool]:
        """The text of generated ids without its end, and whether it has ended."""
        at = next((i for i, token in enumerate(ids) if token in self.stop), None)
        kept = list(ids if at is None else ids[:at])
        before = list(self.ids[:-1])
        if at is not None and before and self.ids[-1] == ids[at] and kept[-len(before):] == before:
            kept = kept[:-len(before)]
        text = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if self.text and self.text in text:
            return text[:text.index(self.text)].strip(), True
        return text.strip(), at is not None


def without_words(end: TurnEnd, eos: int, words: Callable[[Collection[int]], Collection[int]]) -> TurnEnd:
    """The same end, without those of a checkpoint's stops that are words of reports: they would cut them. `words` says
    which of some tokens are, and is asked only where there are such stops."""
    others = set(end.stop) - {end.ids[-1], eos}
    taken = words(others) if others else ()
    return replace(end, stop=tuple(token for token in end.stop if token not in others or token not in taken))


def turn_end(tokenizer: Any, stop: Iterable[int] = ()) -> TurnEnd:
    """The end of an answer in the tokenizer's chat template; its EOS where there is no template, or none with an end.

    `stop` are more tokens at which generation ends (a checkpoint's `generation_config`); those that the tokenizer does
    not know are left out.
    """
    eos = tokenizer.eos_token_id
    more = _known(stop, tokenizer)
    behind = text_behind_answer(tokenizer)
    ends = _up_to_a_token(behind, tokenizer, more)
    if ends:
        return TurnEnd(ends, tuple(sorted({ends[-1], eos, *more})))
    if not behind.strip():
        return TurnEnd((eos,), tuple(sorted({eos, *more})))
    words = behind.rstrip()
    spelt = tokenise(["x", words], [False, True], tokenizer)[1]
    return TurnEnd((*spelt, eos), tuple(sorted({eos, *more})), words.strip())


def own_end(tokenizer: Any, stop: Iterable[int] = ()) -> int | None:
    """The token that ends a text where a tokenizer names no EOS: that of its chat template, else the first of `stop`
    that is no word; None where there is none."""
    more = [token for token in _known(stop, tokenizer) if token in tokenizer.added_tokens_decoder]
    ends = _up_to_a_token(text_behind_answer(tokenizer), tokenizer, more)
    return ends[-1] if ends else next(iter(more), None)


def turn_of(details: Mapping[str, Any], tokenizer: Any) -> TurnEnd:
    """The end of the answers of a run, from its manifest's details.

    Runs made before ends were looked for learnt their tokenizer's EOS; that, and a token the template has.
    """
    said = details.get("turn")
    if said:
        return TurnEnd(tuple(said["end"]), tuple(said["stop"]), said["text"])
    eos = tokenizer.eos_token_id
    return TurnEnd((eos,), tuple(sorted({eos, *turn_end(tokenizer).stop})))


def text_behind_answer(tokenizer: Any) -> str:
    """What a chat template writes behind the last answer; nothing where it shows no answers, or there is none."""
    template = own_template(tokenizer)
    if template is None:
        return ""
    text, _ = attempt(tokenizer, template, [{"role": "user", "content": ASKED},
                                            {"role": "assistant", "content": SAID}], False)
    return text.partition(SAID)[2] if text is not None and text.count(SAID) == 1 else ""


def check_generation_prompt(tokenizer: Any) -> None:
    """Raise MedReportError when the template begins an answer with a tag it leaves open, as for thoughts: reports would
    be learnt and written as thoughts. It names the option of the template that closes it."""
    template = own_template(tokenizer)
    if template is None:
        return
    tag = _left_open(tokenizer, template, {})
    if tag is None:
        return
    for name in names_read(tokenizer, template):
        for value in _TRIED:
            if _left_open(tokenizer, template, {name: value}) is None and _begins(tokenizer, template, {name: value}):
                shown = str(value).lower() if isinstance(value, bool) else value
                raise _open_tag(tokenizer, tag, f"add --template-option {name}={shown}")
    raise _open_tag(tokenizer, tag, "it has no option that closes it; give another --chat-template, or a backbone that "
                    "does not think")


def _open_tag(tokenizer: Any, tag: str, hint: str) -> MedReportError:
    return MedReportError(f"the chat template of {place_of(tokenizer)} begins every answer with {tag} and leaves it "
                          "open: reports would be thoughts", hint)


def _known(stop: Iterable[int], tokenizer: Any) -> list[int]:
    return [token for token in stop if 0 <= token < len(tokenizer)]


def _up_to_a_token(behind: str, tokenizer: Any, more: Collection[int]) -> tuple[int, ...]:
    """The tokens of a text up to the first that no words are made of: special, added to the vocabulary, or among
    `more`; none where it has no such token."""
    if not behind.strip():
        return ()
    ids = tokenise(["x", behind], [False, True], tokenizer)[1]
    own = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder, *more}
    at = next((i for i, token in enumerate(ids) if token in own and tokenizer.decode([token]).strip()), None)
    return () if at is None else tuple(ids[:at + 1])


def _begins(tokenizer: Any, template: str, options: Mapping[str, Any]) -> str | None:
    """What a template writes between a question and the answer it begins, None where it fails."""
    text, _ = attempt(tokenizer, template, [{"role": "user", "content": ASKED}], True, options)
    return text.rpartition(ASKED)[2] if text is not None and ASKED in text else None


def _left_open(tokenizer: Any, template: str, options: Mapping[str, Any]) -> str | None:
    """The tag an answer begins inside of, None where there is none.

    A mark of the turn itself (`<start_of_turn>`, "[INST]") is no such tag: nothing closes it, or the turn's end does.
    """
    begun = _begins(tokenizer, template, options)
    if begun is None:
        return None
    behind, vocabulary = text_behind_answer(tokenizer), tokenizer.get_vocab()
    for pattern, closing in _TAGS:
        for found in pattern.finditer(begun):
            close = closing.format(found[1])
            known = close in template or close in vocabulary or found[1].lower() in _THOUGHTS
            if known and close not in begun[found.end():] and close not in behind:
                return found[0]
    return None
