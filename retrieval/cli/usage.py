"""What is wrong with a command line, in our words: the option by its name, what is right, what comes near."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from typer.core import TyperCommand
from typer.exceptions import TyperException

from retrieval.errors import BadInput

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "query": ("ask", "find", "look", "lookup", "match", "search", "similar"),
    "index": ("add", "build", "create", "embed", "init", "new", "refresh", "scan", "sync", "update"),
    "info": ("count", "list", "ls", "show", "stats", "status"),
    "remove": ("delete", "forget", "rm", "unindex"),
    "verify": ("check", "fsck", "repair", "test"),
    "compact": ("clean", "gc", "optimize", "purge", "vacuum"),
    "evaluate": ("bench", "benchmark", "compare", "eval", "measure"),
    "classify": ("label", "predict", "recognize"),
    "backbones": ("models", "networks"),
    "train": ("finetune", "fine-tune", "learn"),
}
"""Command -> what people call it who come from other programs."""
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "--top": ("n", "t", "topk", "top-k", "count", "limit", "max", "num", "number", "results"),
    "--min-score": ("s", "cutoff", "similarity", "min-similarity", "threshold"),
    "--paths": ("f", "filepath-only", "files", "names"),
    "--files-from": ("from-file", "input", "list"),
    "--index": ("d", "db", "database", "dir", "idx", "index-dir", "library"),
    "--backbone": ("m", "arch", "model", "net", "network"),
    "--exclude": ("ignore", "exclude-dir", "skip"),
    "--threads": ("j", "jobs", "workers", "num-workers"),
    "--out": ("output",),
    "--quiet": ("silent",),
    "--version": ("V",),
}
"""Option -> what it is called by others, or guessed at."""
DUPLICATES = frozenset({"dedup", "dedupe", "duplicates", "dupes", "dups"})
MOST = 2**32 - 1
"""No option counts further; the seed of a training goes so far."""
NUMBERS = {"int": "a whole number", "float": "a number"}


class Command(TyperCommand):
    """A command to which nothing can be given that is empty: `remove "$UNSET"` is no request for all that is here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - a context of Typer's
        """Parse, and refuse what is empty and numbers that are none."""
        written = tuple(args)  # parsing empties the list
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in order:
            values = given.get(parameter.name)
            if "" in (values if isinstance(values, list | tuple) else [values]):
                hint = "a variable of the shell may be unset; leave the option away, or give it a value"
                raise BadInput(f"{_name(parameter, written)} is empty", hint=hint)
        rest = super().parse_args(ctx, args)
        for parameter in order:
            value = ctx.params.get(parameter.name)
            if isinstance(value, float) and value - value != 0:  # infinite, or not a number
                raise BadInput(f"{_name(parameter, written)} must be {_wanted(parameter)}, not {value:g}")
            if isinstance(value, int) and value > MOST:
                raise BadInput(f"{_name(parameter, written)} must be at most {MOST}, not {value}")
        return list(rest)


def explained(error: TyperException, arguments: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with the command line `arguments`, and what to do about it."""
    context = getattr(error, "ctx", None)
    words = (argument for argument in arguments if not argument.startswith("-"))
    path = " ".join(["retrieval", *words][:2]) if context is None else context.command_path
    sentence, hint = _explained(error, path, arguments)
    dashed = next((argument for argument in _before_dashes(arguments) if _looks_like_file(argument)), None)
    if dashed is not None:
        hint = f"a file whose name begins with - is given as ./{dashed}, or after --"
    return sentence, f"{hint}; see: {path} --help" if hint else f"see: {path} --help"


def _explained(error: Any, path: str, arguments: Sequence[str]) -> tuple[str, str]:  # noqa: ANN401 - of Typer's own kinds
    match type(error).__name__:
        case "NoSuchOption":
            return f"{path} has no option {error.option_name}", _near_option(error.option_name, error.ctx)
        case "BadOptionUsage" if "requires" in error.message:
            return f"{error.option_name} needs a value", ""
        case "BadOptionUsage":
            return f"{error.option_name} takes no value", ""
        case "MissingParameter":
            name = error.param.metavar or error.param.name
            option = f"{error.param.opts[0]} " if error.param.opts[0].startswith("-") else ""
            return f"{path} needs {option}{name}", ""
        case "BadParameter":
            return f"{_name(error.param, arguments)} {_refused(error)}", ""
    return _of_words(error, arguments)


def _of_words(error: Any, arguments: Sequence[str]) -> tuple[str, str]:  # noqa: ANN401 - likewise
    """Explain what Typer has no class for."""
    if "No such command" in error.message and error.ctx is not None:
        word = next(argument for argument in arguments if not argument.startswith("-"))
        return f"there is no command {word}", _near_command(word, error.ctx.command.commands)
    if "extra argument" in error.message:
        return f"there are too many arguments: {error.message.partition('(')[2].partition('(')[2].rstrip(')')}", ""
    if "Missing command" in error.message:
        return "no command is given", ""
    return str(error.message).rstrip("."), ""


# -- what is wrong ------------------------------------------------------------------------------------------------


def _refused(error: Any) -> str:  # noqa: ANN401 - likewise
    """Return what a value must be, and what it is."""
    told: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if not told:
        return f"cannot be used: {error.message}"
    return f"must be {_wanted(error.param, told[0]['type'])}, not {told[0]['input']}"


def _wanted(parameter: Any, kind: str = "") -> str:  # noqa: ANN401 - a parameter of Typer's
    """Return what a parameter takes: a number, and from where to where."""
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    numbers = NUMBERS.get(parameter.type_descriptor.annotation.__name__, "something else")
    if least is None and most is None:
        return numbers
    bounds = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
    return bounds if kind.endswith("_equal") else f"{numbers}, {bounds}"


def _name(parameter: Any, arguments: Sequence[str]) -> str:  # noqa: ANN401 - likewise
    """Return the name of an option as it was written, of an argument as the help has it."""
    if not parameter.opts[0].startswith("-"):
        return str(parameter.metavar or parameter.name).strip("[]").replace("]...", "").removesuffix("...")
    written = (name for argument in arguments for name in parameter.opts if argument.startswith(name))
    return next(written, str(parameter.opts[-1]))


# -- what comes near ----------------------------------------------------------------------------------------------


def _near_option(name: str, context: Any) -> str:  # noqa: ANN401 - a context of Typer's
    own = list(_options(context.command, context))
    plain = name.lstrip("-").replace("_", "-")
    meant = [option for option, names in OPTIONS.items() if plain in names and option in own]
    meant = meant or [f"--{plain}"] * (f"--{plain}" in own)
    meant = meant or get_close_matches(f"--{plain.lower()}", own, n=2, cutoff=0.65)
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    commands = getattr(context.find_root().command, "commands", {})
    others = [f"retrieval {other}" for other, command in commands.items() if name in _options(command, context)]
    after = "" if context.parent else ", and comes after the command"
    return f"{name} is an option of {', '.join(others[:4])}{after}" if others else ""


def _options(command: Any, context: Any) -> Iterator[str]:  # noqa: ANN401 - likewise
    for parameter in command.get_params(context):
        yield from (name for name in parameter.opts if name.startswith("-"))


def _near_command(word: str, commands: Mapping[str, Any]) -> str:
    if word == "help":
        return ""
    if os.path.isdir(word):
        return f"to index that folder: retrieval index {word}"
    if os.path.isfile(word):
        return f"to find pictures like that one: retrieval query {word}"
    if word.lower() in DUPLICATES:
        return "a query shows the copies of each picture: retrieval query IMAGE --include-self"
    meant = [command for command, names in COMMANDS.items() if word.lower() in names]
    meant = meant or get_close_matches(word.lower(), commands, n=2)
    return f"did you mean {' or '.join(meant)}?" if meant else f"there are: {', '.join(commands)}"


def _before_dashes(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _looks_like_file(argument: str) -> bool:
    """Tell whether what begins like an option may be meant as a file: one is there, or it ends as names of files do."""
    if not argument.startswith("-") or argument in {"-", "--"}:
        return False
    return re.search(r"^-[^=]*\.[A-Za-z]\w{1,4}$", argument) is not None or os.path.lexists(argument)
