from __future__ import annotations

import io

import numpy as np
import torch
from making import picture
from PIL import Image, ImageEnhance

from latentscape.data import load_data
from latentscape.data.duplicates import near_pairs
from latentscape.data.split import digests_of


def photograph(seed: int, side: int = 64) -> Image.Image:
    """Random, but smooth as a photograph, with some fine detail."""
    rng = np.random.default_rng(seed)
    coarse, fine = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), rng.normal(0, 6, (side, side, 3))
    smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(smooth + fine, 0, 255).astype(np.uint8))


def again(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def stacked(images: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image).transpose(2, 0, 1) for image in images]))


def pairs(images: list[Image.Image]) -> list[tuple[int, int]]:
    x = stacked(images)
    return near_pairs(x, digests_of(x))


def test_copies_that_were_compressed_or_resized_are_found():
    images = [photograph(i) for i in range(60)]
    changed = [
        again(images[3], 75), again(images[10], 50), again(images[20], 95),
        images[30].resize((48, 48), Image.Resampling.LANCZOS).resize((64, 64), Image.Resampling.LANCZOS),
    ]  # fmt: skip
    assert sorted(pairs(images + changed)) == [(3, 60), (10, 61), (20, 62), (30, 63)]


def test_other_pictures_are_not():
    first = photograph(1)
    turned = first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    brighter = ImageEnhance.Brightness(first).enhance(1.5)
    recoloured = Image.merge("RGB", first.split()[::-1])
    assert pairs([first, turned, brighter, recoloured, *(photograph(i) for i in range(2, 40))]) == []


def test_a_small_change_of_content_is_another_picture():
    first = photograph(5)
    other = first.copy()
    other.paste((255, 255, 255) if first.getpixel((30, 30))[0] < 128 else (0, 0, 0), (28, 28, 36, 36))
    assert pairs([first, other]) == []


def test_exact_copies_are_not_near_ones():
    image = photograph(8)
    assert pairs([image, image.copy(), photograph(9)]) == []


def test_no_two_of_the_real_digits_are_taken_for_one():
    x = load_data("digits").x
    assert near_pairs(x, digests_of(x)) == []


def test_flat_and_tiny_pictures_are_no_trouble():
    flat = torch.arange(0, 256, 20, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 3, 2).contiguous()
    assert near_pairs(flat, digests_of(flat)) == []
    one = flat[:1]
    assert near_pairs(one, digests_of(one)) == []


def test_a_folder_reports_them_by_name(tmp_path):
    for i in range(12):
        photograph(i).save(tmp_path / f"{i:02d}.png")
    photograph(4).save(tmp_path / "copy.jpg", quality=80)
    picture(3, 64, 64, "L").save(tmp_path / "grey.png")
    data = load_data(tmp_path)
    assert data.findings.near_duplicates == [("04.png", "copy.jpg")]
    assert data.findings.duplicates == []
