from __future__ import annotations

import numpy as np
import pytest
from making import picture
from PIL import Image

from latentscape.data.picture import fitted
from latentscape.data.resample import bands, resample

GEOMETRIES = [(17, 23, 8, 8), (178, 178, 64, 64), (31, 9, 40, 12), (1, 1, 4, 4), (5, 300, 5, 64), (383, 383, 64, 64)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_pictures_come_out_as_from_pillows_lanczos(geometry):
    height, width, *target = geometry
    image = picture(height, height, width)
    found = fitted(image, (target[0], target[1]), "stretch")
    pillow = np.asarray(image.resize((target[1], target[0]), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert np.abs(found.astype(int) - pillow).max() <= 2


def test_noise_comes_out_nearly_as_from_pillows_lanczos():
    noise = np.random.default_rng(0).integers(0, 256, (150, 130, 3), dtype=np.uint8)
    box = 10.5, 3.25, 120.0, 140.75
    pillow = np.asarray(Image.fromarray(noise).resize((40, 50), Image.Resampling.LANCZOS, box=box))
    difference = resample(noise, box, (50, 40)).astype(float) - pillow.transpose(2, 0, 1)
    assert np.square(difference).mean() < 0.6
    assert abs(difference.mean()) < 0.05


@pytest.mark.parametrize("geometry", [(178, 20.0, 158.0, 64), (600, 0, 600, 101), (3, 0, 3, 64), (90, 0.3, 89.1, 64)])
def test_sums_are_exact_in_any_order(geometry):
    for _, _, weights in bands(*geometry):
        units = weights.astype(np.float64) * 2**15
        assert np.array_equal(units, np.rint(units)), "weights are multiples of 2^-15"
        assert (units.sum(1) == 2**15).all(), "what is flat stays flat"
        assert (255 * np.abs(units).sum(1) < 2**24).all(), "no sum leaves the whole numbers that float32 holds"


def test_the_result_is_that_of_whole_number_arithmetic():
    noise = np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    exact = noise.astype(np.int64)
    for axis, (length, out) in enumerate(((90, 33), (70, 20))):
        matrix = np.zeros((out, length), np.int64)
        for into, taken, weights in bands(length, 0, length, out):
            matrix[into, taken] = weights.astype(np.float64) * 2**15
        levels = np.moveaxis(np.tensordot(matrix, exact, (1, axis)), 0, axis) / 2**15
        exact = np.clip(np.rint(levels), 0, 255).astype(np.int64)
    assert np.array_equal(resample(noise, (0, 0, 70, 90), (33, 20)), exact.transpose(2, 0, 1))


def test_very_large_pictures_are_averaged_first_and_look_the_same():
    image = picture(4, 901, 1203)
    small = fitted(image, (32, 32), "crop")
    pillow = image.resize((32, 32), Image.Resampling.LANCZOS, box=(151, 0, 1052, 901))
    assert np.abs(small.astype(int) - np.asarray(pillow).transpose(2, 0, 1)).max() <= 3
