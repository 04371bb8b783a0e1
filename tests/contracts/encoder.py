"""The tests that every `Encoder` passes. A test module subclasses them and gives the encoder under test."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrieval.networks.encoder import Encoder
from retrieval.types import Pixels


class EncoderTests(ABC):
    """The members of the seam: `dim`, `size`, `fingerprint`, `images`."""

    @pytest.fixture
    @abstractmethod
    def encoder(self) -> Encoder:
        """The encoder under test."""

    @pytest.fixture
    def pixels(self, encoder: Encoder) -> Pixels:
        """Five pictures: four of noise, and one of a single colour."""
        pixels = np.random.default_rng(0).integers(0, 256, (5, *encoder.size, 3), dtype=np.uint8)
        pixels[4] = (200, 100, 50)
        return pixels

    def test_its_facts_are_numbers_and_a_text(self, encoder: Encoder) -> None:
        height, width = encoder.size
        assert (type(encoder.dim), type(height), type(width), type(encoder.fingerprint)) == (int, int, int, str)
        assert min(encoder.dim, height, width) > 0
        assert encoder.fingerprint

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_it_gives_a_row_of_length_one_for_each_picture(self, encoder: Encoder, pixels: Pixels, count: int) -> None:
        vectors = encoder.images(pixels[:count])
        assert vectors.shape == (count, encoder.dim)
        assert vectors.dtype == np.float32
        assert vectors.flags.c_contiguous
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-5)

    def test_it_tells_pictures_apart(self, encoder: Encoder, pixels: Pixels) -> None:
        vectors = encoder.images(pixels)
        assert len(np.unique(vectors, axis=0)) == len(pixels)

    def test_the_same_batch_has_the_same_vectors(self, encoder: Encoder, pixels: Pixels) -> None:
        np.testing.assert_array_equal(encoder.images(pixels), encoder.images(pixels.copy()))

    def test_a_row_does_not_depend_on_the_others(self, encoder: Encoder, pixels: Pixels) -> None:
        together = encoder.images(pixels)
        np.testing.assert_allclose(encoder.images(pixels[::-1])[::-1], together, atol=1e-5)
        for row in range(len(pixels)):
            np.testing.assert_allclose(encoder.images(pixels[row : row + 1])[0], together[row], atol=1e-5)

    def test_it_leaves_the_pictures_as_they_are(self, encoder: Encoder, pixels: Pixels) -> None:
        before = pixels.copy()
        encoder.images(pixels)
        np.testing.assert_array_equal(pixels, before)
        pixels.flags.writeable = False
        encoder.images(pixels)

    def test_a_result_is_the_callers_own(self, encoder: Encoder, pixels: Pixels) -> None:
        vectors = encoder.images(pixels)
        kept = vectors.copy()
        encoder.images(pixels[::-1])
        np.testing.assert_array_equal(vectors, kept)

    def test_any_number_of_threads_may_use_it(self, encoder: Encoder, pixels: Pixels) -> None:
        right = encoder.images(pixels)
        with ThreadPoolExecutor(4) as pool:
            for vectors in pool.map(encoder.images, [pixels] * 8):
                np.testing.assert_allclose(vectors, right, atol=1e-5)
