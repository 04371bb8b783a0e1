r"""Lines of one's own: `--format '{score:.3f}\t{path}'`."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from retrieval.errors import BadInput
from retrieval.types import displayed

_ESCAPES = {r"\t": "\t", r"\n": "\n", r"\0": "\0", r"\\": "\\"}
_ESCAPED = re.compile(r"\\[tn0\\]")
EXAMPLE = r"for example: --format '{score:.3f}\t{path}'"


@dataclass(frozen=True, slots=True)
class Template:
    """A line in which values of a match or of an image stand."""

    parts: tuple[tuple[str, str | None, str], ...]
    """For each part: text, then the name of a value, None for none, and how Python formats the value."""

    @classmethod
    def parse(cls, text: str, sample: Mapping[str, Any]) -> "Template":
        r"""Return the template of a text; `\t`, `\n` and `\0` in it stand for these characters.

        `sample` has a value for each name that the template may use. Raises `BadInput` for another name, for anything
        but names (`{path.parent}`, `{0}`), and for a format that the value of the sample cannot have.
        """
        plain = _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text)
        try:
            parts = tuple((literal, name, spec or "") for literal, name, spec, _ in Formatter().parse(plain))
        except ValueError as error:
            raise BadInput(f"the format cannot be read: {error}", hint=EXAMPLE) from None
        for _, name, spec in parts:
            if name is None:
                continue
            if name not in sample:
                hint = f"the names are: {', '.join(sample)}"
                raise BadInput(f"a format has no value {displayed(name) or '{}'}", hint=hint)
            try:
                format(_plain(sample[name]), spec)
            except (ValueError, TypeError):
                sentence = f"the value {name} cannot have the format {displayed(spec)}"
                raise BadInput(sentence, hint=EXAMPLE) from None
        return cls(parts)

    def line(self, values: Mapping[str, Any]) -> bytes:
        """Return the line of a match or an image. An unknown value is empty; bytes of a path come out as they are."""
        shown = []
        for literal, name, spec in self.parts:
            shown.append(literal)
            value = None if name is None else values.get(name)
            if value is not None:
                shown.append(format(_plain(value), spec))
        return os.fsencode("".join(shown))


def _plain(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """Return a value; a list and a bool as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | dict | bool) else value
