"""Flags from settings: the parser of a command line, and its --help."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Collection, Mapping
from typing import NoReturn

from jaxbert.errors import InputError
from jaxbert.options.fields import Setting, Settings, Value, settings_of
from jaxbert.options.settings import GROUPS


class _Parser(argparse.ArgumentParser):
    """Errors in one line. Choices are for completion: the settings refuse other values."""

    def _check_value(self, action: argparse.Action, value: Value) -> None:
        pass

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists the options")


def make_parser(
    cls: type[Settings],
    prog: str | None = None,
    description: str | None = None,
    epilog: str | None = None,
    listed: Mapping[str, Collection[str]] | None = None,
    hidden: Collection[str] = (),
) -> argparse.ArgumentParser:
    """A parser whose namespace has what a command line gives, and no defaults.

    It takes `--flag`, `--flag True`, `--no_flag` and lists as Hugging Face's scripts do. A value
    that cannot be read stays the word that it is, and the settings refuse it.

    Args:
        prog: the command, for --help; by default the script's name.
        description, epilog: what --help says before and after the options; before them by default
            the docstring of the dataclass.
        listed: option -> the values that its help lists.
        hidden: options that are taken, and refused by the dataclass, so that none is told of.
    """
    parser = _Parser(
        prog=prog,
        description=description or inspect.getdoc(cls),
        epilog=epilog,
        usage="%(prog)s [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    # Each option in the group of the dataclass that declares it first.
    declared = {
        name: (GROUPS.index(base.GROUP) if hasattr(base, "GROUP") else -1, number)
        for number, base in enumerate(cls.__mro__)  # the last one is the first to declare it
        for name in inspect.get_annotations(base)
    }
    groups: dict[int, argparse._ActionsContainer] = {-1: parser}
    for setting in sorted(settings_of(cls), key=lambda setting: declared[setting.name]):
        number, _ = declared[setting.name]
        if setting.name in hidden:
            _add(parser, setting, argparse.SUPPRESS)
            continue
        if number not in groups:
            groups[number] = parser.add_argument_group(GROUPS[number])
        _add(groups[number], setting, _help(setting, (listed or {}).get(setting.name, ())))
    return parser


def flags_of(cls: type[Settings]) -> list[str]:
    """All flags that a command line may have, --no_flag only where --flag is the default."""
    names = [setting.name for setting in settings_of(cls)]
    names += [f"no_{setting.name}" for setting in settings_of(cls) if setting.default is True]
    return [f"--{name}" for name in names]


def _add(group: argparse._ActionsContainer, setting: Setting, text: str) -> None:
    flag, metavar = f"--{setting.name}", _metavar(setting)
    if setting.kind is bool:
        group.add_argument(
            flag, type=setting.from_text, nargs="?", const=True, metavar=metavar, help=text
        )
        if setting.default is True:
            group.add_argument(
                f"--no_{setting.name}",
                dest=setting.name,
                action="store_false",
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS,  # --flag tells of it
            )
    else:
        group.add_argument(
            flag,
            type=setting.from_text,
            nargs="+" if setting.several or setting.facts.joined else None,
            choices=setting.choices or None,
            metavar=metavar,
            help=text,
        )


def _help(setting: Setting, listed: Collection[str]) -> str:
    text = setting.facts.help
    if listed:
        text += f" There are: {', '.join(listed)}."
    if setting.default is not None and setting.default is not False:  # 0 and 0.0 are defaults
        text += f" (default: {setting.default})"
    return text.replace("%", "%%")


def _metavar(setting: Setting) -> str:
    """What stands for a flag's value: what it is, as far as its name and type say."""
    if setting.choices:
        return "{" + ",".join(setting.choices) + "}"
    if setting.kind is not str:
        return {int: "N", float: "X", bool: "True|False"}[setting.kind]
    kinds = ("file", "dir", "name", "path", "args", "split", "address")
    return next((kind.upper() for kind in kinds if setting.name.endswith(kind)), "VALUE")
