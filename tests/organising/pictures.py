"""A folder of real pictures with made copies, as people have them."""

from pathlib import Path

from PIL import Image

from retrieval import Index
from tests.comparing.made import COPIES


def put_copies(folder: Path, original: Path, names: tuple[str, ...]) -> None:
    """Write a picture as `original.jpg` into a folder, and made copies of it under the names of the changes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "original.jpg").write_bytes(original.read_bytes())
    with Image.open(original) as opened:
        picture = opened.convert("RGB")
    for name in names:
        (folder / f"{name}.img").write_bytes(COPIES[name][1](picture))


def indexed(folder: Path, place: Path) -> Index:
    """Return an index of the pictures of a folder, made with the network that comes with the package."""
    index = Index.create(place, backbone="mini")
    index.add(folder)
    return index
