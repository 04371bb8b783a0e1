"""Index a folder, ask for the pictures most similar to its first one, and show the commands on the way."""

import random
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

HOME = Path("demo")
SHAPES = ("circles", "squares", "stripes", "triangles")
EACH = 12
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def main() -> int:
    """Run the demonstration; return the exit code."""
    own = len(sys.argv) > 1
    folder = Path(sys.argv[1]) if own else drawn(HOME / "photos")
    place = HOME / ("index_data" if own else "index_of_drawings")
    code = shown("index", str(folder), "--index", str(place))
    if code:
        return code
    first = next((path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES), None)
    if first is not None:
        code = shown("query", str(first), "--index", str(place), "-k", "5")
    print("\nNow with your own pictures:\n  . .venv/bin/activate\n  retrieval index FOLDER\n  retrieval query PICTURE")
    return code


def shown(*arguments: str) -> int:
    """Run `retrieval` with `arguments`, saying so."""
    print("$", shlex.join(["retrieval", *arguments]), flush=True)
    return subprocess.run(["retrieval", *arguments], check=False).returncode


def drawn(folder: Path) -> Path:
    """Draw the same small set of pictures every time: each kind of shape, in colours and sizes of all sorts."""
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            path = folder / shape / f"{number:02}.jpg"
            if not path.exists():
                draw(shape, random.Random(f"{shape}{number}")).save(path, quality=90)
    return folder


def draw(shape: str, chance: random.Random) -> Image.Image:
    """Return a picture of some of one shape."""
    image = Image.new("RGB", (320, 240), tuple(chance.randrange(256) for _ in range(3)))
    canvas = ImageDraw.Draw(image)
    for _ in range(chance.randrange(4, 12)):
        x, y, size = chance.randrange(320), chance.randrange(240), chance.randrange(20, 90)
        colour = tuple(chance.randrange(256) for _ in range(3))
        match shape:
            case "circles":
                canvas.ellipse((x - size, y - size, x + size, y + size), colour)
            case "squares":
                canvas.rectangle((x - size, y - size, x + size, y + size), colour)
            case "stripes":
                canvas.line((x - 400, y - 4 * size, x + 400, y + 4 * size), colour, width=size // 4)
            case "triangles":
                canvas.polygon(((x, y - size), (x - size, y + size), (x + size, y + size)), colour)
    return image


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `scripts/demo | head` ends quietly, as other programs do
    sys.exit(main())
