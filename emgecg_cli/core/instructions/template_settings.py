"""What a run sets in its backbone's chat template: which one, its variables, its system message.

It is written into the template itself, which is saved with the run's tokenizer and exported with it: whoever renders a
conversation from there on, with this program or with transformers alone, gets the prompts of training. One thing is
not the same: where a template asks the clock, prompts here always hold one date, and transformers alone writes today's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.pieces import added_around
from emgecg_cli.core.instructions.templates import attempt, fill, names_read, own_template
from emgecg_cli.core.instructions.turns import check_generation_prompt
from emgecg_cli.core.instructions.unsaid_system import USER, literal, without_system

_VICUNA = (
    "{{% if messages[0]['role'] == 'system' %}}{{% set said = messages[0]['content'] %}}"
    "{{% set turns = messages[1:] %}}{{% else %}}"
    "{{% set said = \"A chat between a curious {0} and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the {0}'s questions.\" %}}{{% set turns = messages %}}{{% endif %}}"
    "{{{{ bos_token }}}}{{{{ said }}}} {{% for message in turns %}}{{% if message['role'] == 'user' %}}"
    "USER: {{{{ message['content'] }}}} {{% else %}}ASSISTANT: {{{{ message['content'] }}}}{{{{ eos_token }}}}"
    "{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}ASSISTANT:{{% endif %}}")
# Templates by name, for backbones that come without their own. Chinese-Alpaca-2: LLaMA-2's, with its system message.
# LLaVA v1 is Vicuna's but for a word of the system message; GEM was trained with it.
CHAT_TEMPLATES = {"llava-v1": _VICUNA.format("human"), "vicuna-v1": _VICUNA.format("user"), "chinese-alpaca-2": (
    "{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}{% set turns = messages[1:] %}"
    "{% else %}{% set said = 'You are a helpful assistant. 你是一个乐于助人的助手。' %}{% set turns = messages %}"
    "{% endif %}{{ bos_token }}{% for message in turns %}{% if message['role'] == 'user' %}[INST] {% if loop.first %}"
    "<<SYS>>\n{{ said }}\n<</SYS>>\n\n{% endif %}{{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}")}
OWN, NONE = "own", "none"


def chat_template(name: str, own: Mapping[str, str] | None = None) -> str:
    """The Jinja text of a chat template by name, for a tokenizer's `chat_template`: one of those it brings itself
    (`own`), or of `CHAT_TEMPLATES`. Raises MedReportError for an unknown name."""
    known = CHAT_TEMPLATES | dict(own or {})
    if name not in known:
        raise names.unknown_name("chat template", name, [OWN, *known])
    return known[name]


def settle_template(tokenizer: Any, name: str, options: Mapping[str, Any] | None, system: str | None) -> None:
    """Give a tokenizer the chat template of a run.

    `name` is "own", one of the tokenizer's own templates, or one of `CHAT_TEMPLATES`; `options` are variables of it;
    `system` is a text to say first, "none", in letters of any case, to take away what the template says of its own
    accord, None to leave it.
    Raises MedReportError for an option the template does not read, a system message it does not show, a template that
    fails, and one that begins answers inside an open tag.
    """
    held = getattr(tokenizer, "chat_template", None)
    if name != OWN:
        tokenizer.chat_template = chat_template(name, held if isinstance(held, Mapping) else None)
    template = own_template(tokenizer)
    if template is None and options:
        raise MedReportError(f"--template-option {next(iter(options))}: the backbone has no chat template to read it",
                             "leave it out, or name a template with --chat-template")
    if template is not None:
        fill(tokenizer, template, [USER], True)
        if options:
            tokenizer.chat_template = template = _with_options(tokenizer, template, options)
    silent = system is not None and system.strip().lower() == NONE
    if silent and template is not None:
        tokenizer.chat_template = without_system(tokenizer, template)
    elif system is not None and not silent:
        tokenizer.chat_template = _with_system(tokenizer, template or _as_template(tokenizer), system)
    check_generation_prompt(tokenizer)


def _with_options(tokenizer: Any, template: str, options: Mapping[str, Any]) -> str:
    read = names_read(tokenizer, template)
    for name in options:
        if name not in read:
            raise MedReportError(f"--template-option {name}: the chat template reads no such variable",
                                 f"it reads {', '.join(read)}" if read else "leave it out: it reads none")
    lines = "".join(f"{{% set {name} = {literal(value)} %}}\n" for name, value in options.items())
    fill(tokenizer, lines + template, [USER], True)
    return lines + template


def _with_system(tokenizer: Any, template: str, system: str) -> str:
    turn = {"role": "system", "content": system}
    text, error = attempt(tokenizer, template, [turn, USER], True)
    if text is None or system.strip() not in text:
        raise MedReportError(f"the chat template takes no system message ({error or 'it does not show it'})",
                             "leave --system out and say it in the prompts, or give another --chat-template")
    first = f"{{'role': 'system', 'content': {literal(system)}}}"
    return (f"{{% if messages and messages[0]['role'] != 'system' %}}{{% set messages = [{first}] + messages %}}"
            f"{{% endif %}}\n{template}")


def _as_template(tokenizer: Any) -> str:
    """MEIT's lines, which stand in where there is no template, as a template, so that a system message can be kept."""
    before, after = (tokenizer.decode(ids) for ids in added_around(tokenizer))
    eos = literal(tokenizer.eos_token or "")
    return (f"{{{{ {literal(before)} }}}}{{% for m in messages %}}<|{{{{ m['role'] }}}}|>\n{{{{ m['content'] }}}}"
            f"{{% if m['role'] == 'assistant' %}}{{{{ {eos} }}}}{{% endif %}}{{{{ '\\n' }}}}{{% endfor %}}"
            f"{{% if add_generation_prompt %}}<|assistant|>{{{{ '\\n' }}}}{{{{ {literal(after)} }}}}{{% endif %}}")
