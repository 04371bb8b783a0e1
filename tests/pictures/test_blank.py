"""Pictures in which nothing is to be seen at first: on another ground, or in a later frame, there is."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from retrieval.pictures import animation, decode
from tests.pictures.test_decode import saved


def logo(shape: int, ink: object = (255, 255, 255, 255), mode: str = "RGBA") -> Image.Image:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    (draw.ellipse, draw.rectangle)[shape]((8, 20 - 10 * shape, 56, 44), fill=ink)
    return image.convert(mode)


@pytest.mark.parametrize("ink", [(255, 255, 255, 255), (250, 250, 240, 255), (255, 255, 255, 128)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_what_is_white_on_nothing_is_shown_over_black(kind: str, ink: tuple[int, ...]) -> None:
    one, other = (decode.decode(saved(logo(shape, ink), kind), (32, 32)).pixels.astype(int) for shape in (0, 1))
    assert one[0, 0].max() < 10
    assert one[16, 16].min() > 100
    assert np.abs(one - other).mean() > 10


def test_an_image_in_memory_and_a_clear_grey_are_seen_likewise() -> None:
    assert np.ptp(decode.fit(logo(0), (32, 32))) > 200
    grey = Image.new("L", (64, 64), 0)
    grey.paste(255, (16, 16, 48, 48))
    assert np.ptp(decode.decode(saved(grey, "PNG", transparency=0), (32, 32)).pixels) > 200


@pytest.mark.parametrize("ink", [(0, 0, 0, 255), (200, 30, 30, 255), (160, 160, 160, 255)])
def test_what_is_seen_over_white_stays_there(ink: tuple[int, ...]) -> None:
    data = saved(logo(0, ink), "PNG")
    assert np.array_equal(decode.decode(data, (32, 32)).pixels, decode.decode(data, (32, 32), 2).pixels)


@pytest.mark.parametrize("fill", [(0, 0, 0, 0), (255, 255, 255, 0), (255, 255, 255, 255)])
def test_what_is_blank_over_any_ground_is_white(fill: tuple[int, ...]) -> None:
    assert (decode.decode(saved(Image.new("RGBA", (64, 64), fill), "PNG"), (8, 8)).pixels == 255).all()


def test_an_older_index_sees_what_it_always_saw() -> None:
    assert (decode.decode(saved(logo(0), "PNG"), (8, 8), 2).pixels == 255).all()


def film(kind: str, shape: int, blank: int, first: int = 0) -> bytes:
    """Draw a film that begins with `blank` frames of one grey, then fades in."""
    scene = logo(shape, (255, 200, 0, 255)).convert("RGB")
    dark = Image.new("RGB", (64, 64), (first,) * 3)
    frames = [dark] * blank + [Image.blend(dark, scene, step / 8) for step in range(9)]
    frames = [frame.copy() for frame in frames]
    for number, frame in enumerate(frames):
        frame.putpixel((0, 63), (first ^ number % 2,) * 3)  # frames that are the same would be joined
    options = {"lossless": True} if kind == "WEBP" else {}
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=40, **options)


@pytest.mark.parametrize("first", [0, 255])
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_a_film_shows_its_first_frame_that_is_not_blank(kind: str, first: int) -> None:
    one, other = (decode.decode(film(kind, shape, 3, first), (32, 32)).pixels.astype(int) for shape in (0, 1))
    assert np.ptp(one, axis=(0, 1)).max() > 32
    assert np.abs(one - other).mean() > 1
    assert np.ptp(decode.decode(film(kind, 0, 3, first), (32, 32), 2).pixels, axis=(0, 1)).max() < 32


def test_a_film_that_shows_something_at_once_gives_its_first_frame() -> None:
    frames = [logo(0).convert("RGB"), logo(1).convert("RGB")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode.decode(data, (32, 32)).pixels, decode.decode(saved(frames[0], "GIF"), (32, 32)).pixels)


def test_the_work_for_a_blank_film_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = film("GIF", 0, 80)
    assert np.ptp(decode.decode(data, (32, 32)).pixels) < 33
    monkeypatch.setattr(animation, "FRAMES", 200)
    assert np.ptp(decode.decode(data, (32, 32)).pixels) > 32
    monkeypatch.setattr(animation, "PIXELS", 64 * 64 * 10)
    assert np.ptp(decode.decode(data, (32, 32)).pixels) < 33


def test_a_document_is_no_film() -> None:
    pages = [Image.new("RGB", (64, 64), "white"), logo(0, (0, 0, 0, 255)).convert("RGB")]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert (decode.decode(data, (8, 8)).pixels == 255).all()
