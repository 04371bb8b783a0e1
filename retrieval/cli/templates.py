r"""Templates of `--format`, such as `{score:.3f}\t{path}`: text, and fields of a result with Python's format specs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from retrieval.errors import BadInput
from retrieval.types import displayed

ESCAPES = {r"\t": "\t", r"\n": "\n", r"\0": "\0", "\\\\": "\\"}
"""Escape -> the character that it stands for. Any other backslash stands for itself."""
_ESCAPE = re.compile(r"\\[tn0\\]")
SPECS = "https://docs.python.org/3/library/string.html#formatspec"


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read: it can be filled with every row."""

    parts: tuple[tuple[str, str | None, str], ...]
    """In order: text, then the name of a field or None, then the spec of its format."""

    @classmethod
    def read(cls, text: str, example: Mapping[str, Any]) -> "Template":
        """Return the template with this text.

        `example` has all fields, with a value of the right type in each. Raises `BadInput` for braces that do not
        match, an unknown field, and a format that the field cannot have. Attributes and indices are no fields, so that
        a template reads nothing but the values of a row.
        """
        made = cls(tuple(_parts(text, example)))
        if not text:
            raise BadInput("the template is empty", hint=_fields(example))
        made.filled(example)
        return made

    def filled(self, row: Mapping[str, Any], *, printable: bool = False) -> str:
        """Return the template with the values of a row; an unknown value is empty.

        A newline ends the text, unless the template ends with a newline or a NUL. If `printable`, the control
        characters in values are escaped.
        """
        found = []
        for text, name, spec in self.parts:
            found.append(text)
            if name is not None and row.get(name) is not None:
                value = _formatted(name, row[name], spec)
                found.append(displayed(value) if printable else value)
        whole = "".join(found)
        last = self.parts[-1][0] if self.parts and self.parts[-1][1] is None else ""
        return whole if last.endswith(("\n", "\0")) else f"{whole}\n"


def _parts(text: str, example: Mapping[str, Any]) -> Iterator[tuple[str, str | None, str]]:
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        hint = "a brace that is no field is written twice: {{ or }}"
        raise BadInput(f"the template {displayed(text)} cannot be read: {error}", hint=hint) from None
    for literal, name, spec, conversion in parsed:
        if name is not None and name not in example:
            raise BadInput(f"the template has an unknown field {displayed(f'{{{name}}}')}", hint=_fields(example))
        if conversion or "{" in (spec or ""):
            said = "only a name and a format may stand between braces, as in {score:.3f}"
            raise BadInput(f"the field {name} cannot be read", hint=said)
        yield _ESCAPE.sub(lambda found: ESCAPES[found[0]], literal), name, spec or ""


def _formatted(name: str, value: Any, spec: str) -> str:  # noqa: ANN401 - any value of a row
    try:
        return format(value, spec)
    except (ValueError, OverflowError, MemoryError):
        kind = "text" if isinstance(value, str) else "number"
        raise BadInput(
            f"the field {name} is a {kind} and cannot have the format {displayed(spec)}",
            hint=f"for example {{score:.3f}}, {{path:>40}}; all formats: {SPECS}",
        ) from None


def _fields(example: Mapping[str, Any]) -> str:
    return f"the fields are: {', '.join(example)}"
