"""How much memory pictures may take: the limit of one, what all take together, and what happens when it is short."""

import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Index
from retrieval.errors import ShortMemory, UnreadableImage
from retrieval.pictures import decode, limits, opening
from retrieval.process import memory
from tests.fakes import ColourEncoder, colour, picture, put
from tests.pictures.test_decode import largest_size, png
from tests.pictures.test_incomplete import saved, scenery

SIZE = (48, 64)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], memory.Budget]:
    """Set the budget of the process."""

    def put_in(total: int) -> memory.Budget:
        made = memory.Budget(total)
        monkeypatch.setattr(memory, "shared", lambda: made)
        return made

    return put_in


def test_a_jpeg_counts_as_large_as_it_is_decoded() -> None:
    data = saved(Image.new("L", (16320, 12240), 200), "JPEG", quality=30)
    decoded = decode.decode(data, SIZE)
    assert (decoded.width, decoded.height) == (16320, 12240)
    assert np.abs(decoded.pixels.astype(int) - 200).max() < 3


def test_a_jpeg_with_more_pictures_behind_it_is_decoded_small_too(small: Callable[[int], memory.Budget]) -> None:
    image = Image.new("RGB", (4000, 3000), (200, 0, 0))
    small(4_000_000)  # a third of what it would take in full
    decoded = decode.decode(saved(image, "MPO", save_all=True, append_images=[image]), SIZE)
    assert (decoded.width, decoded.height) == (4000, 3000)


def test_a_large_picture_of_one_bit_takes_a_byte_a_pixel() -> None:
    row = b"\0" + b"\xff" * 1000 + b"\0" * 1000
    before = largest_size()
    decoded = decode.decode(png(16_000, 15_625, 1, 0, row * 15_625), SIZE)  # 250 megapixels
    assert (decoded.width, decoded.height) == (16_000, 15_625)
    assert (decoded.pixels[24, 8] == 255).all()
    assert (decoded.pixels[24, 56] == 0).all()
    assert largest_size() - before < 500e6


def test_a_large_picture_takes_little_more_than_its_pixels() -> None:
    data = saved(Image.new("RGBA", (4000, 4000), (200, 0, 0, 128)), "PNG", compress_level=1)
    before = largest_size()
    decode.decode(data, SIZE)
    assert largest_size() - before < 3 * 4 * 4000 * 4000  # turned to RGB in one piece, it took five times that


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "LA", "CMYK", "I;16", "F"])
def test_strip_by_strip_gives_what_the_whole_gives(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from retrieval.pictures import fitting

    source = scenery(1000, 777)
    image = Image.fromarray(np.asarray(source.convert("F")).astype("uint16") * 200) if mode == "I;16" else source
    image = image if mode == "I;16" else image.convert(mode)
    whole = fitting.fit(image, SIZE, 2)
    monkeypatch.setattr(fitting, "STRIP", 20_000)
    assert np.array_equal(fitting.fit(image, SIZE, 2), whole)


def test_large_pictures_wait_for_room(small: Callable[[int], memory.Budget]) -> None:
    shared, most, held = small(100), [0], [0]
    lock = threading.Lock()

    def use(amount: int) -> None:
        with shared.room(amount):
            with lock:
                held[0] += amount
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= amount

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [60, 50, 10, 100, 30] * 10))
    assert 60 <= most[0] <= 100


def test_a_picture_that_never_fits_is_refused(small: Callable[[int], memory.Budget]) -> None:
    small(1000)
    with pytest.raises(UnreadableImage, match="more memory than this machine has") as caught:
        decode.decode(saved(scenery(), "PNG"), SIZE)
    assert not isinstance(caught.value, ShortMemory)


def test_pictures_that_need_most_of_it_are_read_one_after_another(small: Callable[[int], memory.Budget]) -> None:
    data = saved(scenery(), "PNG")
    with opening.opened(data, "PNG") as image:
        small(limits.cost(image) * 3 // 2)
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda _: decode.decode(data, SIZE), range(16)))
    assert len(decoded) == 16


def test_short_memory_is_no_damage_and_the_next_run_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "photos" / "a.png", picture(colour(1)))
    put(tmp_path / "photos" / "b.png", picture(colour(2)))
    loaded = decode.upright

    def short(image: Image.Image) -> Image.Image:
        if image.convert("RGB").getpixel((0, 0)) == colour(2):
            raise MemoryError
        return loaded(image)

    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        with monkeypatch.context() as patch:
            patch.setattr(decode, "upright", short)
            report = index.add(tmp_path / "photos")
            assert (report.added, report.unreadable) == (1, 1)
            (failure,) = index.failures()
            assert "damaged" not in failure.reason
            assert "memory" in failure.reason
        assert index.add(tmp_path / "photos").added == 1
        assert not list(index.failures())


@pytest.mark.parametrize("limit", [2 << 30, resource.RLIM_INFINITY])
def test_limits_of_the_process_count(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = memory.memory()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert memory.memory() == (before if limit == resource.RLIM_INFINITY else min(before, limit))


def test_limits_of_a_container_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "memory.max", b"max\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    before = memory.memory()
    put(tmp_path / "memory.max", b"1073741824\n")
    assert memory.memory() in {before, 1 << 30}  # where the system has no groups, there is no limit either


def test_other_users_of_pillow_keep_their_limit() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode.decode(saved(Image.new("L", (16320, 12240)), "JPEG", quality=10), SIZE)
    assert before == Image.MAX_IMAGE_PIXELS
