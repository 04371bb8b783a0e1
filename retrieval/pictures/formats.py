"""The formats of pictures in one table: how their files begin, how they are named, and what reads them.

The first bytes of a file tell its format, whatever its name is. The name helps where the first bytes tell too little.
It also helps where it promises a picture in a format that is not supported: such a file is reported as unreadable, and
not silently left out. Neither Pillow nor numpy is loaded here, because a run that finds nothing new uses `reader` and
`table` too.
"""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from retrieval import extras
from retrieval.errors import UnreadableImage
from retrieval.types import DECODE_RULE

HEAD = 512
"""Number of bytes at the start of a file that identify its format: enough for an SVG that begins with a licence."""

UNKNOWN = "not a picture in a known format"
"""Reason for a file whose name promises a picture and whose bytes are not one."""
UNSUPPORTED = "unsupported format: "
"""Beginning of the reason for a picture that no installed library can read."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of pictures."""

    name: str
    """What people call the format; used in reasons."""
    names: str = ""
    """Extensions of file names that promise a picture in this format, separated by spaces. An extension that has other
    meanings as well, such as `.raw`, `.pic` or `.gbr`, is left out."""
    begins: bytes | None = None
    """Regular expression for the first bytes of a file; None if only the name tells the format."""
    reader: str | None = None
    """What reads the format: the name of a plugin of Pillow, or `RAW` for LibRaw; None if nothing reads it safely."""
    extra: str | None = None
    """The extra of this package that must be installed to read the format."""
    sure: bool = True
    """False if `begins` is so short that other files begin in the same way. It then counts only for a file whose name
    promises a picture."""

    @property
    def id(self) -> str:
        """Name of the format in the index."""
        return self.reader or self.name


_DIB = rb"[\x0c\x10(48@l|]\0\0\0"  # sizes of the known headers of Windows bitmaps: 12, 16, 40, 52, 56, 64, 108, 124
_HEIF_BRANDS = rb"(?:hei[cxms]|hev[cxms]|mif1|msf1)"  # ISO/IEC 23008-12, annex B
_FTYP = rb".{4}ftyp(?:.{4}){0,12}?%s"  # ISO/IEC 14496-12: a brand, its version, more brands

FORMATS = (
    # If several formats match, the first in the table counts.
    # -- what the web and phones use
    Format("JPEG-LS", ".jls", rb"\xff\xd8\xff\xf7"),
    Format("JPEG", ".jpg .jpeg .jpe .jfif .jif .jfi .pjpeg .pjp .mpo .jps", rb"\xff\xd8\xff", "JPEG"),
    Format("PNG of Xcode", "", rb"\x89PNG\r\n\x1a\n.{4}CgBI"),
    Format("PNG", ".png .apng", rb"\x89PNG\r\n\x1a\n", "PNG"),
    Format("GIF", ".gif", rb"GIF8[79]a", "GIF"),
    Format("WEBP", ".webp", rb"RIFF.{4}WEBP", "WEBP"),
    Format("AVIF", ".avif .avifs", _FTYP % rb"avi[fs]", "AVIF"),
    Format("HEIF", ".heic .heif .hif .heics .heifs", _FTYP % _HEIF_BRANDS, "HEIF", "heif"),
    Format("JPEG XL", ".jxl", rb"\0\0\0\x0cJXL \r\n\x87\n", "JXL", "jxl"),
    Format("JPEG XL", "", rb"\xff\x0a", "JXL", "jxl", sure=False),
    Format("JPEG 2000", ".jp2 .j2k .j2c .jpc .jpf .jpx .jpm .jph .jhc", rb"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    Format("JPEG 2000", "", rb"\xff\x4f\xff\x51", "JPEG2000"),
    Format("BMP", ".bmp .dib", rb"BM.{12}" + _DIB, "BMP"),
    Format("BMP", "", rb"(?:\x0c\0\0\0.{4}|\(\0\0\0.{8})\x01\0[\x01\x04\x08\x10\x18 ]\0", "DIB", sure=False),
    # -- cameras; most of their files are TIFFs, which `camera.is_raw` recognises
    Format("camera RAW", "", rb"II\*\0\x10\0\0\0CR\x02|\0\0.{2}ftypcrx |II\x1a\0{3}HEAPCCDR", "RAW", "raw"),  # Canon
    Format("camera RAW", ".cr2 .cr3 .crw .nef .nrw .arw .sr2 .raf .orf .rw2 .rwl .dng .pef .srw .x3f .mrw .3fr "
           ".fff .iiq .erf .mef .kdc", rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM", "RAW", "raw"),
    Format("TIFF", ".tif .tiff", rb"II[*+]\0|MM\0[*+]", "TIFF"),
    Format("Photo CD", "", rb"\xff{32}\x0e{4}\0{4}", "PCD"),  # no `.pcd`: clouds of points have it too
    # -- programs that draw and paint
    Format("Photoshop of 16 or 32 bits a channel", "", rb"8BPS\0\x01.{16}\0[\x10 ]"),
    Format("Photoshop", ".psd", rb"8BPS\0\x01", "PSD"),  # most hold all layers merged, which is read
    Format("Photoshop of large size (PSB)", ".psb", rb"8BPS\0\x02"),
    Format("GIMP (XCF)", ".xcf", rb"gimp xcf"),
    Format("Krita", ".kra", rb"PK\x03\x04.{26}mimetypeapplication/x-krita"),
    Format("OpenRaster", "", rb"PK\x03\x04.{26}mimetypeimage/openraster"),
    Format("Paint.NET", ".pdn", rb"PDN3"),
    Format("PaintShop Pro", ".pspimage", rb"Paint Shop Pro Image File"),
    Format("Clip Studio", "", rb"CSFCHUNK"),
    Format("Affinity", ".afphoto .afdesign", rb"\0\xffKA"),
    Format("Procreate", ".procreate"),
    Format("CorelDRAW", "", rb"RIFF.{4}[Cc][Dd][Rr]"),
    # -- drawings, which a program has to draw; some of them run code
    Format("SVG", ".svg .svgz",
           rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?><!--.*?-->\s*)*+(?:<!DOCTYPE\s+svg|<svg[\s>])"),
    Format("EPS", ".eps .epsf .epsi", rb"%!PS-Adobe-\d\.\d EPSF|\xc5\xd0\xd3\xc6"),  # Pillow would run Ghostscript
    Format("Adobe Illustrator", ".ai"),
    Format("WMF", ".wmf", rb"\xd7\xcd\xc6\x9a|\x01\0\x09\0\0\x03"),
    Format("EMF", ".emf .emz", rb"\x01\0\0\0.{36} EMF"),
    Format("PICT", ".pict .pct"),
    Format("DjVu", ".djvu .djv", rb"AT&TFORM.{4}(?:DJV[UM]|[PB]M44)"),
    # -- icons
    Format("ICO", ".ico",
           rb"\0\0\x01\0(?!\0\0).....[\0\xff][\0\x01]\0[\0\x01\x04\x08\x10\x18 ]\0(?!\0{4}).{4}(?!\0{4})", "ICO"),
    Format("CUR", ".cur", rb"\0\0\x02\0[^\0]\0...\0.\0.\0(?!\0{4})...\0(?!\0{4})..\0\0", "CUR"),
    Format("ANI", ".ani", rb"RIFF.{4}ACON"),
    Format("ICNS", ".icns", rb"icns", "ICNS"),
    # -- older pictures
    Format("TGA", ".tga", rb".[\0\x01][\x01-\x03\x09-\x0b].{9}(?!\0\0)..(?!\0\0)..[\x01\x08\x0f\x10\x18 ][\0-?]",
           "TGA", sure=False),
    Format("PCX", ".pcx", rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08].{60}\0[\x01-\x04]", "PCX"),
    Format("DCX", ".dcx", rb"\xb1\x68\xde\x3a", "DCX"),
    Format("SGI", ".sgi", rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]", "SGI"),
    Format("Sun raster", "", rb"\x59\xa6\x6a\x95", "SUN"),
    Format("PPM", ".ppm .pgm .pbm .pnm .pfm", rb"P[1-6]\s+(?:#|\d+\s+[#\d])|Pf\s+\d+\s+\d+\s+-?[\d.]", "PPM"),
    Format("PAM", "", rb"P7\n(?:#|WIDTH|HEIGHT|DEPTH|MAXVAL|TUPLTYPE)"),
    Format("PFM in colour", "", rb"PF\s+\d+\s+\d+\s+-?[\d.]"),
    Format("XV thumbnail", "", rb"P7 332\n", "XVTHUMB"),
    Format("XBM", ".xbm", rb"\s*#define[ \t]+\w*_width[ \t]+\d+\s+#define[ \t]+\w*_height[ \t]+\d", "XBM"),
    Format("XPM", ".xpm", rb"/\* XPM \*/", "XPM"),
    Format("QOI", ".qoi", rb"qoif", "QOI"),
    Format("MSP", "", rb"(?:DanM|LinS).{4}(?!\0{4})", "MSP"),
    Format("IM", "", rb"Image type: "),  # Pillow will drop it
    Format("PIXAR", "", rb"\x80\xe8\0\0", "PIXAR"),
    Format("FLI", ".fli .flc", rb".{4}[\x11\x12]\xaf.{6}\x08\0[\0\x03]\0", "FLI"),
    Format("Amiga IFF", ".ilbm .lbm", rb"FORM.{4}(?:ILBM|PBM |ACBM|RGB[8N]|DEEP)"),
    Format("WBMP", ".wbmp"),
    Format("JBIG2", ".jb2 .jbig2", rb"\x97JB2\r\n\x1a\n"),
    Format("MNG", ".mng", rb"\x8aMNG\r\n\x1a\n"),
    Format("JNG", ".jng", rb"\x8bJNG\r\n\x1a\n"),
    Format("FlashPix", ".fpx"),
    # -- films, games, science
    Format("DDS", ".dds", rb"DDS \x7c\0\0\0", "DDS"),
    Format("BLP", ".blp", rb"BLP[12]", "BLP"),
    Format("FTEX", "", rb"FTEX", "FTEX"),
    Format("GIMP brush", "", rb".{20}GIMP", "GBR"),
    Format("KTX", ".ktx .ktx2", rb"\xabKTX (?:11|20)\xbb"),
    Format("ASTC", ".astc", rb"\x13\xab\xa1\x5c"),
    Format("VTF", ".vtf", rb"VTF\0"),
    Format("OpenEXR", ".exr", rb"\x76\x2f\x31\x01"),
    Format("Radiance HDR", "", rb"#\?R(?:ADIANCE|GBE)\s"),
    Format("DPX", ".dpx", rb"SDPX|XPDS"),
    Format("Cineon", "", rb"\x80\x2a\x5f\xd7"),
    Format("Softimage PIC", "", rb"\x53\x80\xf6\x34"),
    Format("FITS", ".fits .fts", rb"SIMPLE  ="),  # compression lets a small file hold a picture of any size
    Format("DICOM", ".dcm .dicom", rb".{128}DICM"),
    Format("SPIDER", ".spider"),
    Format("JPEG XR", ".jxr .wdp .hdp", rb"II\xbc[\0\x01]"),
    Format("FLIF", ".flif", rb"FLIF"),
    Format("BPG", ".bpg", rb"BPG\xfb"),
    Format("farbfeld", "", rb"farbfeld"),
)  # fmt: skip
"""The formats of pictures. A format has a reader if Pillow, or a library that an extra installs, decodes it safely. A
format has no reader if Pillow hands it to another program (EPS), to the system (WMF and EMF) or to a reader of office
documents (FlashPix), or decompresses it without a limit (FITS). Formats without a reader are in the table so that their
files are reported."""

PACKAGES = {"heif": "pillow-heif", "jxl": "pillow-jxl-plugin", "raw": "rawpy", "tiff": "tifffile"}
"""Extra -> the package that it installs."""

_BY_EXTENSION = {name.encode(): form for form in FORMATS for name in form.names.split()}


def promises_picture(path: bytes) -> bool:
    """Tell whether the name of `path` has the extension of a picture."""
    return _extension(path) in _BY_EXTENSION


def _extension(path: bytes) -> bytes:
    return os.path.splitext(path)[1].lower()


@cache
def _any_format(*, only_sure: bool) -> re.Pattern[bytes]:
    """Return one pattern for all formats, or for those that are `sure`. It rules out other files in 3 microseconds."""
    return re.compile(b"|".join(begins for begins, _ in _patterns(only_sure=only_sure)), re.DOTALL)


def _patterns(*, only_sure: bool) -> Iterator[tuple[bytes, Format]]:
    """Yield the pattern for the first bytes of each format that has one, and the format."""
    for form in FORMATS:
        if form.begins is not None and (form.sure or not only_sure):
            yield form.begins, form


def _by_first_bytes(head: bytes, *, only_sure: bool) -> Format | None:
    if not _any_format(only_sure=only_sure).match(head):
        return None
    candidates = _patterns(only_sure=only_sure)
    return next(form for begins, form in candidates if re.match(begins, head, re.DOTALL))


def identified(head: bytes, path: bytes | None = None) -> Format | None:
    """Return the format of a file by its first `HEAD` bytes and its name, None if it is not a picture.

    Without a `path`, the file is taken for a picture, so that formats that are not `sure` count too.
    """
    promised = None if path is None else _BY_EXTENSION.get(_extension(path))
    form = _by_first_bytes(head, only_sure=path is not None and promised is None)
    if promised is None:
        return form
    if promised.reader == "RAW" and (form is None or form.reader == "TIFF"):  # most RAW files are TIFFs inside
        return promised
    if form is None and promised.reader is None:  # to be reported as a picture in an unsupported format
        return promised
    return form


def readable(head: bytes, path: bytes | None = None) -> Format | None:
    """Return the format of a file as `identified` does, if it can be read; None for a file that is not a picture.

    Raises `UnreadableImage` for a picture in an unsupported format, and for a file that is not a picture although its
    name promises one. Without a `path`, the file is taken for a picture.
    """
    if not head and (path is None or promises_picture(path)):
        raise UnreadableImage("empty file")
    form = identified(head, path)
    if form is None and (path is None or promises_picture(path)):
        raise UnreadableImage(UNKNOWN)
    if form is not None:
        check(form)
    return form


def check(form: Format) -> None:
    """Raise `UnreadableImage` if no installed library reads a format."""
    if form.reader is None:
        raise UnreadableImage(UNSUPPORTED + form.name)
    if form.extra is not None and not available(form.extra):
        raise UnreadableImage(f"{UNSUPPORTED}{form.name}; {extras.hint('read it', form.extra)}")


@cache
def available(extra: str) -> bool:
    """Tell whether an extra is installed, and if so, let Pillow use it."""
    try:
        if extra == "heif":
            import pillow_heif

            pillow_heif.register_heif_opener()
        elif extra == "jxl":
            import pillow_jxl  # noqa: F401 - it registers itself
        else:
            import rawpy  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def table() -> str:
    """Return a name for this version of the table. When it changes, files that were no pictures are looked at again."""
    return f"formats {zlib.crc32(repr(FORMATS).encode()):08x}"


def reader() -> str:
    """Return a name for the rule, table and packages that read files. When it changes, failed files are read again."""
    packages = ", ".join(f"{package} {_version(package)}" for package in ("pillow", *PACKAGES.values()))
    return f"rule {DECODE_RULE}, {table()}, {packages}"


def _version(package: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
