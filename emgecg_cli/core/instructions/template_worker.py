"""The process in which chat templates run: a template is a program that came with somebody's model.

It is a sandbox of Jinja's with what transformers offers to templates, in a process of its own whose memory and time are
bounded, so that a template that never ends, or fills the memory, costs a line and not a machine. Reads one request a
line from stdin and answers each with one line on stdout. Run by its path, since the package around it takes seconds to
import.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.utils
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 4  # of the processor, for one text
MEMORY = 1 << 30  # bytes
LONGEST = 4_000_000  # characters of a text
# Some templates write the day into every prompt: this one, or the same command would train on other words tomorrow.
TODAY = datetime(2024, 7, 26)


class Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the assistant says; it changes no text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        """The block as if its marks were not there."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class Maker:
    """What templates call `dict`: makes one, and has no other attribute to climb through."""

    def __call__(self, *args: Any, **named: Any) -> dict[Any, Any]:
        """A new dictionary."""
        return dict(*args, **named)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(*args)


class Notes(jinja2.utils.Namespace):
    """What templates call `namespace`, without names that begin as Python's own do."""

    def __init__(*args: Any, **named: Any) -> None:
        for name in dict(*args[1:], **named):
            Notes.check(name)
        jinja2.utils.Namespace.__init__(*args, **named)

    def __setitem__(self, name: str, value: Any) -> None:
        Notes.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name: str) -> None:
        """Raise for a name that leads to Python's insides."""
        if str(name).startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot hold '{name}'")


def environment() -> ImmutableSandboxedEnvironment:
    """The sandbox, with the names and filters templates are written for."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                         extensions=[Generation, jinja2.ext.loopcontrols])

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None,
               sort_keys: bool = False) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: TODAY.strftime(form)
    made.globals["namespace"] = Notes
    made.globals["dict"] = Maker()
    return made


SANDBOX = environment()


@lru_cache(maxsize=64)
def compiled(template: str) -> jinja2.Template:
    """A template, ready to run."""
    return SANDBOX.from_string(template)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What a request asks for: the "text" of a conversation, the "names" a template reads, or an "error" in words."""
    try:
        if request["ask"] == "names":
            return {"names": sorted(jinja2.meta.find_undeclared_variables(SANDBOX.parse(request["template"])))}
        pieces, length = [], 0
        for piece in compiled(request["template"]).generate(request["variables"]):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST:
                return {"error": f"it writes more than {LONGEST:,} characters"}
        return {"text": "".join(pieces)}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}"}
    except MemoryError:
        return {"error": f"it needs more than {MEMORY >> 20:,} MB of memory"}
    except RecursionError:
        return {"error": "it calls itself without end"}
    except Exception as error:
        return {"error": str(error) or type(error).__name__}


def bound_memory() -> None:
    """Give this process so much memory and no more, where the system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bound_time() -> None:
    """Have the system end this process after so many more seconds of work, whoever still waits for it."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS + 1, hard))


def main() -> None:
    """Answer until stdin closes."""
    bound_memory()
    for line in sys.stdin.buffer:
        bound_time()
        sys.stdout.buffer.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
