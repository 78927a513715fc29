"""A miniature of CelebA in its official layout: drawn faces, 178×218, on which some of the 40 attributes show."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

NAMES = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]
SHOWN = ("Smiling", "Male", "Eyeglasses")
"""The attributes that are drawn; the others are drawn lots."""

WIDTH, HEIGHT = 178, 218
POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")


def make(folder: Path, n: int = 60, *, archive: bool = False, parts: tuple[int, int] = (40, 10)) -> Path:
    """n pictures and all five lists in `folder`; archive: the pictures in the zip instead.

    parts: how many train and validate; the rest test. Who it is changes every third picture.
    """
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], (n, len(NAMES)))
    points = np.array([[69, 111], [108, 111], [88, 135], [72, 152], [105, 152]]) + rng.integers(-3, 4, (n, 5, 2))
    files = [f"{i + 1:06d}.jpg" for i in range(n)]
    place = folder / "img_align_celeba"
    place.mkdir(parents=True)
    for file, sign, at in zip(files, signs, points, strict=True):
        _draw({name: sign[NAMES.index(name)] > 0 for name in SHOWN}, at, rng).save(place / file, quality=90)
    part = np.repeat([0, 1, 2], [*parts, n - sum(parts)])
    write(folder, "list_eval_partition.txt", files, part[:, None])
    write(folder, "list_attr_celeba.txt", files, signs, " ".join(NAMES) + " ")
    write(folder, "identity_CelebA.txt", files, 2880 + np.arange(n)[:, None] // 3)
    axes = " ".join(f"{point}_{axis}" for point in POINTS for axis in "xy")
    write(folder, "list_landmarks_align_celeba.txt", files, points.reshape(n, 10), axes)
    boxes = rng.integers(50, 400, (n, 4))
    write(folder, "list_bbox_celeba.txt", files, boxes, "image_id x_1 y_1 width height")
    if archive:
        pack(folder)
    return folder


def write(folder: Path, name: str, files: list[str], values: np.ndarray, columns: str = "") -> None:
    """A list as the authors write it: the count and the columns' names where it has them, numbers in columns."""
    rows = [f"{file} " + " ".join(f"{v:2d}" for v in row) for file, row in zip(files, values.tolist(), strict=True)]
    head = [str(len(files)), columns] if columns else []
    (folder / name).write_text("\n".join(head + rows) + "\n")


def pack(folder: Path) -> Path:
    """Move the pictures into the zip."""
    place = folder / "img_align_celeba"
    path = folder / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("img_align_celeba")
        for picture in sorted(place.iterdir()):
            archive.write(picture, f"img_align_celeba/{picture.name}")
            picture.unlink()
    place.rmdir()
    return path


def _draw(shown: dict[str, bool], points_52: np.ndarray, rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), tuple(rng.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    skin, hair = (int(rng.integers(190, 230)), 165, 135), (50, 30, 20)
    if not shown["Male"]:
        draw.rectangle((25, 60, 153, 218), fill=hair)
    draw.ellipse((32, 30, 146, 140), fill=hair)
    draw.ellipse((40, 50, 138, 190), fill=skin)
    for x, y in points_52[:2].tolist():
        draw.ellipse((x - 7, y - 4, x + 7, y + 4), fill="white")
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="black")
        if shown["Eyeglasses"]:
            draw.ellipse((x - 16, y - 13, x + 16, y + 13), outline="black", width=5)
    left, right = points_52[3].tolist(), points_52[4].tolist()
    if shown["Smiling"]:
        draw.chord((left[0] - 6, 125, right[0] + 6, 175), 10, 170, fill="white", outline=(180, 40, 40), width=4)
    else:
        draw.line((*left, *right), fill=(150, 60, 60), width=5)
    return picture
