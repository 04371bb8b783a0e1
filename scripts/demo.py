"""Index a folder, ask for the pictures most similar to its first one, and show the commands on the way."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

from drawings import draw_all

HOME = Path("demo")
EACH = 12
"""Pictures that are drawn of each scene."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def main() -> int:
    """Run the demonstration; return the exit code."""
    own = len(sys.argv) > 1
    folder = Path(sys.argv[1]) if own else draw_all(HOME / "photos", EACH)
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


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `scripts/demo | head` ends quietly, as other programs do
    sys.exit(main())
