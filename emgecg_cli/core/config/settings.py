"""What is known of a setting besides its name, type and default, described once where the field stands.

From it come the option of a command with its help and completion, the checks, what a file of settings may hold, and
what a manifest keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError

KEY = "setting"  # of the metadata of a field
DEFAULT, NOTHING = "default", "nothing"  # values that may be given all the same where a setting is idle
Wrong = tuple[str, str]  # what is wrong with a value, and what to give


@dataclass(frozen=True)
class Idle:
    """When a setting changes nothing: if `when(config)`, for which the setting `beside` is to blame.

    `why` says it, where "--beside value" does not. `spares` is the value that is no request: the DEFAULT, or NOTHING (0
    and false).
    """

    beside: str
    when: Callable[[Any], bool]
    why: str = ""
    spares: str = ""


@dataclass(frozen=True)
class Setting:
    """How a setting is shown, what it may be, and when it counts.

    `panel` and `help` are for a help page; "" is the panel of options without a group. A value is one of `known` (where
    that has a `noun`, errors say "no NOUN 'x'"; `several` take any of them, separated by commas, or "none"), a name of
    the table `kind` (or what `parse` takes for names of it), a number from `least` to `most`, one that is `positive`,
    or a `share`, from 0 to below 1; or it passes `check`, which returns what is wrong with it. `hints` complete as
    `known` values do; others are taken too. A `free` setting decides no result and may change when a killed run goes
    on. One that is `unsaid` is left out of manifests where it is not set, as in those made before it was there.
    """

    panel: str
    help: str
    known: tuple[str, ...] = ()
    noun: str = ""
    several: bool = False
    kind: str = ""
    parse: Callable[[str], object] | None = None
    hints: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    positive: bool = False
    share: bool = False
    check: Callable[[Any], Wrong | None] | None = None
    idle: tuple[Idle, ...] = ()
    free: bool = False
    unsaid: bool = False
    option: str = ""  # its name on the command line, if not the field's
    metavar: str = ""
    shows_default: bool = False

    def wrong_number(self, value: float) -> Wrong | None:
        """What is wrong with a number; NaN and infinity are never right where there is a bound."""
        if self.least is not None and not self.least <= value < math.inf:
            return f"is {value}", f"give {self.least} or more"
        if self.most is not None and value > self.most:
            return f"is {value}", f"give {self.most} or less"
        if self.positive and not 0 < value < math.inf:
            return f"is {value}", "give a number above 0"
        if self.share and not 0 <= value < 1:
            return f"is {value}", "give a share from 0 to below 1"
        return None

    def wrong(self, value: Any) -> Wrong | None:
        """What is wrong with a value, as the end of a sentence about it, and what to give; None where it may be."""
        if isinstance(value, (int, float)):
            return self.wrong_number(value)
        if self.check:
            return self.check(value)
        if self.known and not self.noun and value not in self.known:
            return f"is '{value}'", f"available: {', '.join(self.known)}"
        return None

    def check_name(self, value: Any) -> None:
        """Raise MedReportError for a name that is in no table, with a near one."""
        if self.parse:
            self.parse(value)
        elif self.kind:
            names.check(self.kind, value)
        if not self.noun:
            return
        words = [value]
        if self.several:
            words = [] if value == "none" else [word.strip() for word in value.split(",")]
        for word in words:
            if word not in self.known:
                raise names.unknown_name(self.noun, word, (*(("none",) if self.several else ()), *self.known))


def setting(default: Any, panel: str, text: str, *idle: Idle, **more: Any) -> Any:
    """A field of a dataclass with a default and its `Setting`."""
    return field(default=default, metadata={KEY: Setting(panel, text, idle=idle, **more)})


def as_in(kind: type, name: str, default: Any) -> Any:
    """A field that is described in another dataclass already, with a default of its own."""
    return field(default=default, metadata={KEY: described(kind)[name]})


def described(kind: type) -> dict[str, Setting]:
    """The settings of a dataclass by name, in its order."""
    return {one.name: one.metadata[KEY] for one in fields(kind)}


def option_of(kind: type, name: str) -> str:
    """The option of a setting: "--batch-size"."""
    return described(kind)[name].option or "--" + name.replace("_", "-")


def not_empty(hint: str) -> Callable[[str], Wrong | None]:
    """The check of a text that must say something."""
    return lambda text: None if text.strip() else ("is empty", hint)


def settings_of(config: Any) -> dict[str, Any]:
    """The settings a result depends on: all but the free ones, and those that are unsaid."""
    settings: Mapping[str, Setting] = described(type(config))
    return {name: value for name, value in vars(config).items()
            if not settings[name].free and not (settings[name].unsaid and value == getattr(type(config), name))}


def refuse_wrong(config: Any, named: Callable[[str], str], file_of: Callable[[str], str]) -> None:
    """Raise MedReportError for the first value that a setting may not have. `named(setting)` is what it was given as,
    `file_of(setting)` the file it comes from and a colon, "" for an option."""
    for name, one in described(type(config)).items():
        value = getattr(config, name)
        if value is None:
            continue
        try:
            one.check_name(value)
        except MedReportError as error:
            raise MedReportError(file_of(name) + error.message, error.hint) from None
        if wrong := one.wrong(value):
            raise MedReportError(f"{named(name)} {wrong[0]}", wrong[1])
