"""Files on disk -> upright RGB arrays: find, identify, decode, fit.

A file is a picture by its bytes, whatever its name. Everything here may meet hostile input: what cannot be read raises
`UnreadableImage` with a reason for a person, and nothing else.
"""

import errno
import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pathspec import GitIgnoreSpec
from PIL import ExifTags, Image, ImageOps

from retrieval.errors import UnreadableImage
from retrieval.types import Found, Unlisted

DECODE_RULE = 1
"""Version of what `decode` does to pixels: the whole picture, upright, over white, squashed with an antialiased bilinear
filter. Part of every fingerprint: a change of the rule is a new number."""

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded: the limit at which Pillow itself refuses (twice `PIL.Image.MAX_IMAGE_PIXELS`)."""

IGNORE_FILE = ".retrievalignore"
"""Patterns in the syntax of .gitignore, valid from its folder downwards."""

RUBBISH = frozenset(
    {b"@eaDir", b"#recycle", b"#snapshot", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found", b"__MACOSX"}
)
"""Folders that systems, NAS boxes and archivers leave behind; names with a leading dot are skipped as well."""

EXTENSIONS = frozenset(
    b".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .avif .heic .heif .hif".split()
)
"""Names that promise a picture: such a file that holds none is reported, others are passed over in silence."""

HEIF_MISSING = "HEIC needs an extra: pip install 'retrieval[heif]'"

# Pillow warns between one and two times its limit; ours is the upper one, and every larger picture is an error.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def find(root: bytes, below: bytes = b"", exclude: Sequence[str] = (), skip: bytes = b"") -> Iterator[Found | Unlisted]:
    """Yield the regular files of `root` under its subfolder `below`, in byte order of their paths relative to `root`.

    Links to files are followed, links to folders are not, so there are no loops. Hidden and rubbish names, the absolute
    folder `skip`, and what `exclude` or a `.retrievalignore` names are left out. A folder or file that the system will not
    show is yielded as `Unlisted`; one that vanishes meanwhile is not. Holds one folder's names in memory at a time, and
    those of its parents.
    """
    rules = _Rules.down_to(root, below, exclude)
    pending = [_Folder(root, below, rules)] if os.path.isdir(root) else []
    if not pending:
        yield Unlisted(b"", "the folder cannot be reached")
    while pending:
        folder = pending[-1]
        if folder.error is not None:
            yield Unlisted(folder.path, folder.error)
            folder.error = None
        if not folder.names:
            pending.pop()
            continue
        name = folder.names.pop()
        path = folder.path + name
        if folder.rules.hide(path):
            continue
        if name.endswith(b"/"):
            if os.path.join(root, path[:-1]) != skip:
                pending.append(_Folder(root, path, folder.rules))
        elif (seen := _seen(root, path)) is not None:
            yield seen


def _seen(root: bytes, path: bytes) -> Found | Unlisted | None:
    try:
        status = os.stat(os.path.join(root, path))
    except OSError as error:
        harmless = error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
        return None if harmless else Unlisted(path, reason_of(error))
    return Found(path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


class _Folder:
    """Names of one folder still to visit, last first; those of folders end in `/`, which makes the walk's order that of bytes."""

    def __init__(self, root: bytes, path: bytes, rules: "_Rules") -> None:
        self.path = path
        self.error: str | None = None
        self.names: list[bytes] = []
        self.rules = rules
        try:
            with os.scandir(os.path.join(root, path)) as entries:
                self.names = [e.name + b"/" if e.is_dir(follow_symlinks=False) else e.name for e in entries]
        except FileNotFoundError:
            return
        except OSError as error:
            self.error = reason_of(error)
            return
        self.names.sort(reverse=True)
        if os.fsencode(IGNORE_FILE) in self.names:
            self.rules = rules.extended(root, path)


@dataclass(frozen=True)
class _Rules:
    """Patterns in force in a folder, each with the folder it counts from, outermost first."""

    specs: tuple[tuple[bytes, GitIgnoreSpec], ...]

    @classmethod
    def down_to(cls, root: bytes, below: bytes, exclude: Sequence[str]) -> "_Rules":
        rules = cls(((b"", GitIgnoreSpec.from_lines(exclude)),) if exclude else ())
        parts = below.rstrip(b"/").split(b"/") if below else []
        for depth in range(len(parts)):
            above = b"".join(part + b"/" for part in parts[:depth])
            rules = rules.extended(root, above)
        return rules

    def extended(self, root: bytes, folder: bytes) -> "_Rules":
        try:
            with open(
                os.path.join(root, folder, os.fsencode(IGNORE_FILE)), encoding="utf-8", errors="surrogateescape"
            ) as file:
                return _Rules((*self.specs, (folder, GitIgnoreSpec.from_lines(file))))
        except OSError:
            return self

    def hide(self, path: bytes) -> bool:
        if hidden(path.rstrip(b"/").rpartition(b"/")[2]):
            return True
        for folder, spec in reversed(self.specs):
            verdict = spec.check_file(os.fsdecode(path[len(folder) :])).include
            if verdict is not None:
                return verdict
        return False


def hidden(name: bytes) -> bool:
    """Tell whether a scan passes over files and folders of that name."""
    return name.startswith(b".") or name in RUBBISH


def reason_of(error: OSError) -> str:
    """Return what the system says of `error`, as the reason of a failure."""
    return (error.strerror or str(error)).lower()


def promises_picture(path: bytes) -> bool:
    """Tell whether the name of `path` ends as pictures' names do."""
    return os.path.splitext(path)[1].lower() in EXTENSIONS


_SIGNATURES = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
               (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"))  # fmt: skip
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # lengths of the known DIB headers
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
)  # ISO/IEC 23008-12, annex B


def identify(head: bytes) -> str | None:
    """Return Pillow's name of the format that a file's first bytes (64 are enough) announce, or None for anything else."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:1] == b"P" and head[1:2] in {b"1", b"2", b"3", b"4", b"5", b"6"} and head[2:3].isspace():
        return "PPM"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return _identify_isobmff(head)


def _identify_isobmff(head: bytes) -> str | None:
    if head[4:8] != b"ftyp":
        return None
    length = int.from_bytes(head[:4], "big")
    brands = {head[8:12]} | {head[i : i + 4] for i in range(16, min(length, len(head)), 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture ready for a network."""

    pixels: NDArray[np.uint8]
    """(height, width, 3), RGB, 0-255, of the size asked."""
    width: int
    """Of the whole picture, upright."""
    height: int
    format: str
    taken: str | None


def decode(data: bytes, size: tuple[int, int]) -> Decoded:
    """Return the picture in `data`, upright, over white, squashed to `size` (height, width); `UnreadableImage` otherwise.

    Of an animation, the first frame. More than 8 bits a channel are scaled down, floats stretched from least to largest.
    """
    kind = identify(data[:64])
    if kind is None:
        raise UnreadableImage("empty file" if not data else "not a picture in a known format")
    if kind == "HEIF":
        _register_heif()
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage(
                    f"{image.width} x {image.height} pixels are over the limit of {MAX_PIXELS // 1_000_000} megapixels"
                )
            image.load()
            taken = _taken(image)
            upright = _upright(image)
            return Decoded(fit(upright, size), upright.width, upright.height, kind, taken)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"over the limit of {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise UnreadableImage("too large for this machine's memory") from None
    except Exception as error:  # noqa: BLE001 - decoders meeting a damaged file raise nearly anything
        raise UnreadableImage(f"damaged {kind}: {_sentence(error)}") from error


def fit(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an upright `image` of any mode as (height, width, 3) RGB of `size` (height, width)."""
    height, width = size
    return np.asarray(_rgb(image).resize((width, height), Image.Resampling.BILINEAR))


@cache
def heif_available() -> bool:
    """Tell whether the extra that reads HEIC is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _register_heif() -> None:
    if not heif_available():
        raise UnreadableImage(HEIF_MISSING)


def reader() -> str:
    """Name what decides whether a file can be read, so that a failure is tried again when it changes."""
    import PIL

    return f"rule {DECODE_RULE}, Pillow {PIL.__version__}, heif {heif_available()}"


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # EXIF that cannot be parsed says nothing about the picture
        return ImageOps.exif_transpose(image)
    return image


def _taken(image: Image.Image) -> str | None:
    with suppress(Exception):  # likewise
        exif = image.getexif()
        text = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()  # noqa: DTZ007 - cameras note no zone
    return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(image))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    else:
        values = values / 257  # 65535 / 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
