"""The keys of filters: what each of them looks at, and how its values are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from os.path import expanduser

from retrieval.pictures.formats import FORMATS
from retrieval.searching import filter_values as values
from retrieval.searching.filter_values import Numbers, Span, Value
from retrieval.storage.conditions import All, AnyOf, Comparison, Condition, HasKeyword, Known, Like, Operator, Tagged
from retrieval.types import displayed


@dataclass(frozen=True, slots=True)
class Key:
    """What can stand before a colon."""

    read: Callable[[Value], Condition]
    """Makes a condition from a value; raises `BadFilter`."""
    meaning: str
    """What the key looks at, in a few words."""
    example: str
    """A term with the key."""

    @property
    def is_ordered(self) -> bool:
        """Whether values of the key can be compared by signs, and be ends of a range."""
        read = self.read.func if isinstance(self.read, partial) else self.read
        return read in {values.ordered, values.taken, values.modified}


# -- texts --------------------------------------------------------------------------------------------------------


def _path(value: Value) -> Condition:
    """Return that a file or a folder with this path holds the picture.

    The path is absolute, or begins at the indexed folder, or with the name of that folder.
    """
    written = value if not value.text.startswith("~") else Value(value.filter, value.at, expanduser(value.text))
    pattern = values.pattern(written).removeprefix("./").rstrip("/")
    if not pattern and written.text.startswith("/"):
        return All(())  # every file lies there
    if not pattern:
        raise value.error("a path is missing", "for example: path:2024/june or path:/home/me/photos/2024")
    facts = ["place"] if pattern.startswith("/") else ["path", "named_path"]
    return AnyOf(tuple(Like(fact, like) for fact in facts for like in (pattern, f"{pattern}/%")))


def _folder(value: Value) -> Condition:
    return Like("folders", f"%/{values.pattern(value).strip('/')}/%")


def _camera(value: Value) -> Condition:
    """Return that the maker, the model or both, one after the other, are this text."""
    return AnyOf(tuple(values.text(value, fact) for fact in ("make", "model", "camera")))


_FORMATS = {name.lower(): name for name in (form.id for form in FORMATS if form.reader is not None)} | {
    extension.removeprefix("."): form.id
    for form in reversed(FORMATS)
    if form.reader is not None
    for extension in form.names.split()
}
"""Name of a format, or ending of the name of a file, in small letters -> the name of the format in the index."""


def _format(value: Value) -> Condition:
    if not value.quoted and not {*"*?"}.isdisjoint(value.text):
        return values.text(value, "format")
    name = _FORMATS.get(value.text.lower())
    if name is None:
        raise value.error(
            f"there is no format {displayed(value.text)}", "for example: jpeg, png, heif, webp, gif, tiff, raw"
        )
    return Comparison("format", Operator.EQUAL, name)


def _keyword(value: Value) -> Condition:
    return HasKeyword(values.pattern(value))


def _tag(value: Value) -> Condition:
    return Tagged(value.text)


# -- numbers and words --------------------------------------------------------------------------------------------


def _of_number(fact: str, numbers: Numbers, *, wraps: bool = False) -> Callable[[Value], Condition]:
    return partial(values.ordered, fact=fact, read=numbers.read, wraps=wraps)


_BYTES = {
    f"{letter}{ending}": factor**power
    for power, letter in enumerate("kmgt", start=1)
    for ending, factor in (("b", 1000), ("", 1000), ("ib", 1024))
}
_ONE = Span(1.0, 1.0, 1.0)
_SHAPES = {
    "portrait": _ONE.below("ratio"),
    "landscape": _ONE.above("ratio"),
    "square": Comparison("ratio", Operator.EQUAL, 1.0),
}
_STATES = {
    "offline": Comparison("offline", Operator.EQUAL, 1),
    "copied": Comparison("copies", Operator.MORE, 1),
}
_KNOWN: Mapping[str, Condition] = {
    "taken": Known("taken"),
    "camera": AnyOf((Known("make"), Known("model"))),
    "lens": Known("lens"),
    "place": Known("latitude"),
    "rating": Known("rating"),
    "keyword": HasKeyword("%"),
}

_pixels, _number = Numbers({"px": 1}), Numbers()
_seconds, _stars = Numbers({"s": 1, "ms": 0.001}, fractions=True), Numbers(signed=True)

KEYS: Mapping[str, Key] = {
    "path": Key(_path, "the path of the file or of a folder above it", "path:2024/*"),
    "folder": Key(_folder, "the name of a folder above the file", "folder:holidays"),
    "root": Key(partial(values.text, fact="root"), "the path of the indexed folder", "root:/media/*"),
    "name": Key(partial(values.text, fact="name"), "the name of the file", "name:IMG_*|DSC*"),
    "format": Key(_format, "the format of the bytes, whatever the name of the file", "format:jpeg|png"),
    "width": Key(_of_number("width", _pixels), "the width of the upright picture, in pixels", "width:>=1920"),
    "height": Key(_of_number("height", _pixels), "the height of the upright picture, in pixels", "height:..1080"),
    "mp": Key(_of_number("megapixels", Numbers({"mp": 1})), "the number of pixels, in millions", "mp:>12"),
    "shape": Key(partial(values.word, words=_SHAPES), "portrait, landscape or square", "shape:portrait"),
    "size": Key(_of_number("bytes", Numbers({"b": 1} | _BYTES)), "the size of the file, in bytes", "size:>2MB"),
    "taken": Key(values.taken, "the time that the camera noted, in its local time", "taken:2024-06..2024-08"),
    "modified": Key(values.modified, "the time at which the file was changed", "modified:<2weeks"),
    "camera": Key(_camera, "the maker and the model of the camera", "camera:canon*"),
    "lens": Key(partial(values.text, fact="lens"), "the lens", "lens:*50mm*"),
    "iso": Key(_of_number("iso", _number), "the sensitivity", "iso:..400"),
    "aperture": Key(_of_number("aperture", _number), "the f-number", "aperture:..2.8"),
    "exposure": Key(_of_number("exposure", _seconds), "the exposure time, in seconds", "exposure:>1/60"),
    "focal": Key(_of_number("focal_length", Numbers({"mm": 1})), "the focal length, in millimetres", "focal:24..70"),
    "near": Key(values.near, "the distance from a place or from an indexed picture", "near:52.5,13.4,5km"),
    "lat": Key(_of_number("latitude", values.Degrees()), "the degrees north of the equator", "lat:47..55"),
    "lon": Key(_of_number("longitude", values.Degrees(), wraps=True), "the degrees east of Greenwich", "lon:-10..3"),
    "rating": Key(_of_number("rating", _stars), "the stars, 0 to 5; -1 for a rejected picture", "rating:>=4"),
    "keyword": Key(_keyword, "a keyword in the file", 'keyword:"red car"|truck'),
    "tag": Key(_tag, "a tag that the network gives", 'tag:"golden retriever"'),
    "copies": Key(_of_number("copies", _number), "the number of indexed files with the same bytes", "copies:>1"),
    "has": Key(partial(values.word, words=_KNOWN), f"what the file says at all: {', '.join(_KNOWN)}", "has:place"),
    "is": Key(partial(values.word, words=_STATES), "offline; or copied: other files have the same bytes", "is:offline"),
}
"""Keys of a filter, in the order of the guide."""
