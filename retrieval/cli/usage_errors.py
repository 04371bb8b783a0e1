"""Sentences and hints about a wrong command line: the name of the option, the allowed values, and a similar name.

Typer has no public classes for most of its errors, so the errors are told apart by the names of their classes.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

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
"""Command -> names that other programs give to a command of this kind."""
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "--top": ("n", "t", "topk", "top-k", "count", "limit", "max", "num", "number", "results"),
    "--min-score": ("s", "cutoff", "similarity", "min-similarity", "threshold"),
    "--likely": ("auto",),
    "--paths": ("f", "filepath-only", "files", "names"),
    "--format": ("o", "printf", "template"),
    "--exec": ("cmd", "command", "do", "execute", "run"),
    "--open": ("show", "view", "viewer"),
    "--preview": ("display", "image", "images", "pictures", "thumbnails"),
    "--files-from": ("from-file", "input", "list"),
    "--index": ("d", "db", "database", "dir", "idx", "index-dir", "library"),
    "--backbone": ("m", "arch", "model", "net", "network"),
    "--exclude": ("ignore", "exclude-dir", "skip"),
    "--threads": ("j", "jobs", "workers", "num-workers"),
    "--out": ("output",),
    "--quiet": ("silent",),
    "--version": ("V",),
}
"""Option -> names that other programs give to an option of this kind, and names that users may guess."""
DUPLICATES = frozenset({"dedup", "dedupe", "duplicates", "dupes", "dups"})
"""Names of commands that find copies in other programs."""
LARGEST = 2**32 - 1
"""Largest whole number that an option takes. It is the largest seed of a training."""
KINDS_OF_NUMBERS = {"int": "a whole number", "float": "a number"}
"""Name of a type of Python -> the words for it in an error."""


# -- values that no option takes ----------------------------------------------------------------------------------


def refuse_empty_values(parameters: Sequence[Any], values: Mapping[str, Any], written: Sequence[str]) -> None:
    """Raise `BadInput` if a value of `parameters` is empty; `written` is the command line as the user wrote it."""
    for parameter in parameters:
        value = values.get(parameter.name)
        several = value if isinstance(value, list | tuple) else [value]
        if "" in several:
            hint = "a shell variable may be unset; give a value, or leave the option out"
            raise BadInput(f"{_name(parameter, written)} is empty", hint=hint)


def refuse_odd_numbers(parameters: Sequence[Any], values: Mapping[str, Any], written: Sequence[str]) -> None:
    """Raise `BadInput` if a number is infinite, not a number, or larger than `LARGEST`."""
    for parameter in parameters:
        value = values.get(parameter.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{_name(parameter, written)} must be {_allowed(parameter)}, not {value:g}")
        if isinstance(value, int) and value > LARGEST:
            raise BadInput(f"{_name(parameter, written)} must be at most {LARGEST}, not {value}")


# -- errors of Typer ----------------------------------------------------------------------------------------------


def explained(error: TyperException, arguments: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with the command line `arguments`, and a hint how to correct it."""
    context = getattr(error, "ctx", None)
    if context is None:
        words = [argument for argument in arguments if not argument.startswith("-")]
        path = " ".join(["retrieval", *words[:1]])
    else:
        path = context.command_path
    sentence, hint = _explained(error, path, arguments)
    for argument in _before_double_dash(arguments):
        if _looks_like_file(argument):
            hint = f"to give a file whose name begins with -, write ./{argument}, or put the name after --"
            break
    if hint and not hint.endswith("?"):
        hint += ";"
    return sentence, f"{hint} see: {path} --help".strip()


def _explained(error: Any, path: str, arguments: Sequence[str]) -> tuple[str, str]:  # noqa: ANN401 - an error of Typer
    match type(error).__name__:
        case "NoSuchOption":
            return f"{path} has no option {error.option_name}", _similar_option(error.option_name, error.ctx)
        case "BadOptionUsage" if "requires" in error.message:
            return f"{error.option_name} needs a value", ""
        case "BadOptionUsage":
            return f"{error.option_name} takes no value", ""
        case "MissingParameter":
            name = error.param.metavar or error.param.name
            option = error.param.opts[0]
            return f"{path} needs {option} {name}" if option.startswith("-") else f"{path} needs {name}", ""
        case "BadParameter":
            return f"{_name(error.param, arguments)} {_refused(error)}", ""
    return _explained_by_message(error, arguments)


def _explained_by_message(error: Any, arguments: Sequence[str]) -> tuple[str, str]:  # noqa: ANN401 - an error of Typer
    """Explain the errors that have no class of their own in Typer."""
    if "No such command" in error.message and error.ctx is not None:
        word = next(argument for argument in arguments if not argument.startswith("-"))
        return f"there is no command {word}", _similar_command(word, error.ctx.command.commands)
    if "extra argument" in error.message:
        # The message ends with the arguments: "Got unexpected extra argument(s) (x y)".
        extra = error.message.partition(" (")[2].rstrip(")")
        return f"there are too many arguments: {extra}", ""
    if "Missing command" in error.message:
        return "no command is given", ""
    return str(error.message).rstrip("."), ""


def _refused(error: Any) -> str:  # noqa: ANN401 - an error of Typer
    """Return what a value must be, and what it is."""
    validation = error.__cause__
    if not hasattr(validation, "errors"):
        return f"cannot be used: {error.message}"
    reason = validation.errors()[0]
    return f"must be {_allowed(error.param, reason['type'])}, not {reason['input']}"


def _allowed(parameter: Any, reason: str = "") -> str:  # noqa: ANN401 - a parameter of Typer
    """Return which values a parameter takes: the kind of number, and its bounds.

    `reason` is the type of the error of validation. For a number out of bounds, only the bounds are returned.
    """
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    kind = KINDS_OF_NUMBERS.get(parameter.type_descriptor.annotation.__name__, "something else")
    if least is None and most is None:
        return kind
    bounds = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
    out_of_bounds = reason.endswith("_equal")
    return bounds if out_of_bounds else f"{kind}, {bounds}"


def _name(parameter: Any, arguments: Sequence[str]) -> str:  # noqa: ANN401 - a parameter of Typer
    """Return the name of an option as it was written, or the name of an argument as it is in the help."""
    if not parameter.opts[0].startswith("-"):
        return str(parameter.metavar or parameter.name).strip("[]").replace("]...", "").removesuffix("...")
    for argument in arguments:
        for name in parameter.opts:
            if argument.startswith(name):
                return str(name)
    return str(parameter.opts[-1])


# -- hints at similar names ---------------------------------------------------------------------------------------


def _similar_option(name: str, context: Any) -> str:  # noqa: ANN401 - an object of Typer
    """Return a hint for an option that the command does not have."""
    options = list(_options(context.command, context))
    plain = name.lstrip("-").replace("_", "-")
    meant = [option for option, names in OPTIONS.items() if plain in names and option in options]
    if not meant and f"--{plain}" in options:
        meant = [f"--{plain}"]
    if not meant:
        meant = get_close_matches(f"--{plain.lower()}", options, n=2, cutoff=0.65)
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    commands = getattr(context.find_root().command, "commands", {})
    others = [f"retrieval {other}" for other, command in commands.items() if name in _options(command, context)]
    if not others:
        return ""
    before_command = context.parent is None
    place = ", and comes after the command" if before_command else ""
    return f"{name} is an option of {', '.join(others[:4])}{place}"


def _options(command: Any, context: Any) -> Iterator[str]:  # noqa: ANN401 - objects of Typer
    for parameter in command.get_params(context):
        yield from (name for name in parameter.opts if name.startswith("-"))


def _similar_command(word: str, commands: Mapping[str, Any]) -> str:
    """Return a hint for a command that does not exist."""
    if word == "help":
        return ""
    if os.path.isdir(word):
        return f"to index that folder: retrieval index {word}"
    if os.path.isfile(word):
        return f"to find images similar to that one: retrieval query {word}"
    if word.lower() in DUPLICATES:
        return "a query shows the copies of an image: retrieval query IMAGE --include-self"
    meant = [command for command, names in COMMANDS.items() if word.lower() in names]
    if not meant:
        meant = get_close_matches(word.lower(), commands, n=2)
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    return f"the commands are: {', '.join(commands)}"


def _before_double_dash(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _looks_like_file(argument: str) -> bool:
    """Tell whether an argument that looks like an option may be a file: it exists, or its end looks like a suffix."""
    if not argument.startswith("-") or argument in {"-", "--"}:
        return False
    return re.search(r"^-[^=]*\.[A-Za-z]\w{1,4}$", argument) is not None or os.path.lexists(argument)
