"""Options made of described settings: a command that takes `**given` gets one for each field of a configuration."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import typer

from emgecg_cli.commands.options import complete, words
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.config.settings import Setting, described, option_of
from emgecg_cli.core.config.train import RECIPES

ConfigOpt = Annotated[Path | None, typer.Option(
    "--config", metavar="FILE", show_default=False,
    help="Settings in YAML, such as the config.yaml of an earlier one; an option here comes before them.")]
_METAVARS = {int: "N", float: "X", str: "NAME"}
Command = TypeVar("Command", bound=Callable[..., Any])


def takes_settings(kind: type, shows_defaults: bool = False) -> Callable[[Command], Command]:
    """Give a command an option for each field of `kind`, before its own. What is typed reaches it as `**given`; what is
    not is None. `shows_defaults` names the fields' defaults in the help, where no recipe decides them.
    """
    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
        hints = get_type_hints(kind)
        made = [inspect.Parameter(one.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None,
                                  annotation=_option(kind, one.name, hints[one.name],
                                                     one.default if shows_defaults else None))
                for one in fields(kind)]
        parameters = [*made, *own]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return command
    return decorate


def _option(kind: type, name: str, annotated: Any, default: Any) -> Any:
    """The option of a field: of its type, or a list of texts where it is a dictionary."""
    setting = described(kind)[name]
    optional = get_origin(annotated) in (Union, types.UnionType)
    type_ = get_args(annotated)[0] if optional else annotated
    by_recipe = _by_recipe(name) if kind is TrainConfig else ""
    if setting.shows_default and not by_recipe:
        default = next(one.default for one in fields(kind) if one.name == name)
    if get_origin(type_) is dict:
        type_ = list[str]
    flag = option_of(kind, name)
    if type_ is bool:  # so that a file's true can be undone
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    text = setting.help + (f" (default: {default:g})" if isinstance(default, float) else
                           f" (default: {default})" if default is not None else by_recipe)
    more = {"autocompletion": completion} if (completion := _completion(setting)) else {}
    return Annotated[type_ | None, typer.Option(
        flag, help=text, show_default=False, metavar=setting.metavar or _METAVARS.get(type_),
        rich_help_panel=setting.panel or None, **more)]


def _by_recipe(name: str) -> str:
    """The default of a setting of `train`, and those of recipes that have another."""
    own = getattr(TrainConfig, name)
    others: dict[str, list[str]] = {}
    for recipe, settings in RECIPES.items():
        if name in settings and settings[name] != own:
            others.setdefault(_told(settings[name]), []).append(recipe)
    parts = [] if name == "recipe" or own in (None, "") or isinstance(own, bool) else [_told(own)]
    parts += [f"{', '.join(recipes)} {value}" for value, recipes in others.items()]
    return f" (default: {'; '.join(parts)})" if parts else ""


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _completion(setting: Setting) -> Callable[[str], list[str]] | None:
    """What TAB offers, if anything is known."""
    known = setting.hints or setting.known
    if known:
        return words(*known)
    return complete(setting.kind) if setting.kind else None
