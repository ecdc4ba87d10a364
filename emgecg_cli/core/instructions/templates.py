"""Chat templates of backbones: which text one makes of a conversation, and what it says when it makes none.

A template came with somebody's model and may do anything Jinja can, so it runs in a process of its own
(`template_worker`), whose time, memory and answer are bounded.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from emgecg_cli.core.errors import MedReportError

PATIENCE = 30.0  # seconds to wait for one text on a busy machine; the process itself stops after a few of work
LONGEST_ANSWER = 64_000_000  # bytes: every character of the longest text escaped, and room
LONGEST_TEMPLATE = 1_000_000  # characters
WORKER = Path(__file__).with_name("template_worker.py")
NEVER_ENDS = "it does not end"
HINT = "give another --chat-template, or mend chat_template.jinja in the tokenizer's folder"

Turns = Sequence[Mapping[str, Any]]

_one_at_a_time = threading.Lock()
_running: dict[int, subprocess.Popen[bytes]] = {}  # by process: a fork has none of its own yet


def own_template(tokenizer: Any) -> str | None:
    """The chat template a tokenizer uses, None where it has none. Raises MedReportError for several without a default.
    """
    held = getattr(tokenizer, "chat_template", None)
    if isinstance(held, Mapping):
        if "default" not in held:
            raise MedReportError(f"{place_of(tokenizer)} has several chat templates and no default: {', '.join(held)}",
                                 f"choose one: --chat-template {next(iter(held), 'NAME')}")
        held = held["default"]
    return held or None


def fill(tokenizer: Any, template: str, turns: Turns, generation_prompt: bool) -> str:
    """The text of a conversation of plain texts; with `generation_prompt` up to where the answer begins.

    Raises MedReportError with what the template says when it refuses the conversation, is no Jinja, or never ends.
    """
    text, error = attempt(tokenizer, template, turns, generation_prompt)
    if text is None:
        raise MedReportError(f"the chat template of {place_of(tokenizer)} fails: {error}", HINT)
    return text


def attempt(tokenizer: Any, template: str, turns: Turns, generation_prompt: bool,
            options: Mapping[str, Any] | None = None) -> tuple[str | None, str]:
    """The text, or None and why there is none; `options` are more variables of the template."""
    variables = {"messages": [dict(turn) for turn in turns], "tools": None, "documents": None,
                 "add_generation_prompt": generation_prompt, **_special_tokens(tokenizer), **(options or {})}
    answer = _answer(json.dumps({"ask": "text", "template": template, "variables": variables}))
    return answer.get("text"), _short(answer.get("error", ""))


def names_read(tokenizer: Any, template: str) -> list[str]:
    """The variables a template reads from outside, besides the conversation and the tokenizer's tokens.

    Raises MedReportError when it is no Jinja.
    """
    answer = _answer(json.dumps({"ask": "names", "template": template}))
    if "error" in answer:
        raise MedReportError(f"the chat template of {place_of(tokenizer)} fails: {_short(answer['error'])}", HINT)
    offered = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now",
               "namespace", "dict", "range", "lipsum", "cycler", "joiner", *_special_tokens(tokenizer)}
    return [name for name in answer["names"] if name not in offered and not name.endswith("_token")]


def _special_tokens(tokenizer: Any) -> dict[str, Any]:
    """The tokenizer's tokens by their names ("eos_token"), as templates know them."""
    return {name: token if isinstance(token, list) else str(token)
            for name, token in tokenizer.special_tokens_map.items()}


def _short(error: str) -> str:
    return error if len(error) <= 300 else f"{error[:297].rstrip()}…"


def place_of(tokenizer: Any) -> str:
    """What to call a tokenizer in an error: the folder or hub id it came from."""
    return getattr(tokenizer, "name_or_path", "") or "this tokenizer"


@lru_cache(maxsize=4096)  # many records share a prompt
def _answer(request: str) -> dict[str, Any]:
    if len(json.loads(request)["template"]) > LONGEST_TEMPLATE:
        return {"error": f"it is longer than {LONGEST_TEMPLATE:,} characters"}
    with _one_at_a_time:
        line = _asked(request)
        if line.endswith(b"\n"):
            return dict(json.loads(line))
        _end(os.getpid())
    return {"error": NEVER_ENDS}


def _asked(request: str) -> bytes:
    """The worker's line about a request; what there is of one, or nothing, where it does not answer in time."""
    worker = _worker()
    assert worker.stdin is not None and worker.stdout is not None
    alarm = threading.Timer(PATIENCE, worker.kill)
    alarm.start()
    try:
        worker.stdin.write(request.encode() + b"\n")
        worker.stdin.flush()
        return worker.stdout.readline(LONGEST_ANSWER)
    except OSError:
        return b""
    finally:
        alarm.cancel()


def _worker() -> subprocess.Popen[bytes]:
    """The process that runs templates for this one; its own session, so that Ctrl-C does not reach it."""
    running = _running.get(os.getpid())
    if running is None or running.poll() is not None:
        running = subprocess.Popen([sys.executable, "-P", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        _running[os.getpid()] = running
    return running


def _end(pid: int) -> None:
    """Stop the worker of this process."""
    worker = _running.pop(pid, None)
    if worker is None or pid != os.getpid():
        return
    worker.kill()
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


@atexit.register
def _end_mine() -> None:
    _end(os.getpid())
