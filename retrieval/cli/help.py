"""The layout of the help: plain text, commands and options in groups, examples before details.

The docstring of a command is its help. The first line of the docstring is also the line of the command in `retrieval
--help`. The paragraph whose lines begin with `retrieval` has the examples.
"""

import inspect
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from typer.core import TyperCommand, TyperGroup

from retrieval.cli.preview import AUTO, NAMES
from retrieval.cli.usage_errors import refuse_empty_values, refuse_odd_numbers

WHAT = "What"
HOW_MANY = "How many"
HOW_SHOWN = "How shown"
HOW_COMPUTED = "How computed"
GENERAL = "General"
OPTION_GROUPS = (WHAT, HOW_MANY, HOW_SHOWN, HOW_COMPUTED, GENERAL)
"""Groups of options, in the order of the help of a command. An option names its group as `rich_help_panel`."""

ON_THE_FIRST_SCREEN = {"--version", "--install-completion", "--help"}
"""Options in `retrieval --help`, which has to fit a screen. The help of each command has the others."""

WIDEST = 28
"""Largest width of the first column, in characters. Longer names have their text on the next line."""

OPTIONAL = {"--preview": (AUTO, NAMES)}
"""Option that may stand without a value -> the value that it has then, and the values that it can have."""

Row = tuple[str, str]
"""(names of a command, argument or option, what it is for)"""


class Group(TyperGroup):
    """The program: its help shows the commands in groups, each on one line."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - objects of Typer
        """Write what the program is for, right below the usage."""
        formatter.write_text(inspect.cleandoc(self.help or ""))

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - objects of Typer
        """Write the groups of commands, then the options."""
        self.format_commands(ctx, formatter)
        rows = [_row(option) for option in self.get_params(ctx) if ON_THE_FIRST_SCREEN & set(option.opts)]
        _write_group(formatter, "Options", rows, _width(rows))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - objects of Typer
        """Write each group of commands under its title."""
        groups: dict[str, list[Row]] = {}
        for name, command in self.commands.items():
            title = getattr(command, "rich_help_panel", None) or "Commands"
            groups.setdefault(title, []).append((name, _paragraphs(command.help)[0]))
        width = max(len(name) for name in self.commands)
        for title, rows in groups.items():
            _write_group(formatter, title, rows, width)


class Command(TyperCommand):
    """A command: its help begins with examples and shows its options in groups.

    Empty values are refused before they are read: `remove "$UNSET"` must never mean the current folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - an object of Typer
        """Parse the arguments, and refuse values that are empty, infinite, not a number or too large."""
        written = tuple(args)  # parsing empties the list
        args = _completed(args)
        values, _, parameters = self.make_parser(ctx).parse_args(args=list(args))
        refuse_empty_values(parameters, values, written)
        rest = super().parse_args(ctx, args)
        refuse_odd_numbers(parameters, ctx.params, written)
        return list(rest)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - an object of Typer
        """Return the words of the usage after the name of the command: arguments, required options, then [OPTIONS]."""
        parameters = self.get_params(ctx)
        arguments = [_metavar(parameter) for parameter in parameters if not _is_option(parameter)]
        required = [
            f"{parameter.opts[0]} {_metavar(parameter)}"
            for parameter in parameters
            if _is_option(parameter) and parameter.required
        ]
        return [*arguments, *required, "[OPTIONS]"]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - objects of Typer
        """Write what the command does, then its examples, then the details."""
        for paragraph in _paragraphs(self.help):
            formatter.write_paragraph()
            if paragraph.lstrip().startswith("retrieval "):
                formatter.write_heading("Examples")
                for line in paragraph.splitlines():
                    formatter.write(f"  {line.strip()}\n")
            else:
                with formatter.indentation():
                    formatter.write_text(paragraph)

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - objects of Typer
        """Write the arguments and options in groups."""
        groups: dict[str, list[Row]] = {title: [] for title in OPTION_GROUPS}
        for parameter in self.get_params(ctx):
            usual = GENERAL if _is_option(parameter) else WHAT
            title = getattr(parameter, "rich_help_panel", None) or usual
            groups[title].append(_row(parameter))
        width = _width([row for rows in groups.values() for row in rows])
        for title, rows in groups.items():
            if rows:
                formatter.write_paragraph()
                _write_group(formatter, title, rows, width)


def _completed(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with a value for each option of `OPTIONAL`, before `--`."""
    found: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:]):
        usual, values = OPTIONAL.get(argument, ("", ()))
        alone = usual and "--" not in found and following not in values
        found.append(f"{argument}={usual}" if alone else argument)
    return found


def _paragraphs(text: str | None) -> list[str]:
    """Return the paragraphs of a docstring."""
    return inspect.cleandoc(text or "").split("\n\n")


def _write_group(formatter: Any, title: str, rows: Sequence[Row], width: int) -> None:  # noqa: ANN401 - as above
    """Write a title and rows of two columns. The first column has at least `width` characters."""
    formatter.write_heading(title)
    with formatter.indentation():
        formatter.write_dl([(f"{names:<{width}}", text) for names, text in rows])


def _width(rows: Sequence[Row]) -> int:
    """Return the width of the first column of `rows`, in characters; names longer than `WIDEST` do not count."""
    return max(len(names) for names, _ in rows if len(names) <= WIDEST)


def _row(parameter: Any) -> Row:  # noqa: ANN401 - a parameter of Typer
    """Return the names and the help of an argument or option, with its default if the default is a number but not 0."""
    text = parameter.help or ""
    default = parameter.default
    if isinstance(default, int | float) and not isinstance(default, bool) and default:
        text = f"{text} [default: {default:g}]"
    if not _is_option(parameter):
        return _metavar(parameter), text
    names = ", ".join(sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {_metavar(parameter)}", text


def _is_option(parameter: Any) -> bool:  # noqa: ANN401 - a parameter of Typer
    return str(parameter.opts[0]).startswith("-")


def _metavar(parameter: Any) -> str:  # noqa: ANN401 - a parameter of Typer
    return str(parameter.metavar or parameter.name.upper())
