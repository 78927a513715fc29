"""CelebA in its official layout (Liu et al. 2015, arXiv 1411.7766): aligned faces, 178×218, with 40 attributes each.

A folder with `img_align_celeba/NNNNNN.jpg`, or `img_align_celeba.zip` beside the lists, which is read as it is; and
    list_eval_partition.txt           the split: 0 train, 1 valid, 2 test; no person stands in two parts
    list_attr_celeba.txt              40 attributes, −1 or 1 → attributes of 0 and 1 under their own names
    identity_CelebA.txt               who it is, a number → attribute `identity`
    list_landmarks_align_celeba.txt   eyes, nose and mouth, in pixels of the 178×218 picture → `lefteye_x` … (10)
    list_bbox_celeba.txt              the face in the picture *before* it was aligned, in pixels → `box_x_1` … (4):
                                      how large it was there, not where it is here
The lists may lie in `Anno`, `Eval` and `Img` as on the official drive, or be the .csv files of the copy on Kaggle. Only
the pictures and the partition are needed. There are no labels: `--label-attribute Smiling` makes an attribute one.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentscape.data import cache
from latentscape.data.fetching import places
from latentscape.data.picture import UnreadableError
from latentscape.data.raw import Raw
from latentscape.data.settings import DataSettings
from latentscape.data.sources.packing import key_of, packed, stamp
from latentscape.errors import DataError

PICTURES, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
PARTITION, ATTRIBUTES = "list_eval_partition", "list_attr_celeba"
IDENTITY, LANDMARKS, BOXES = "identity_CelebA", "list_landmarks_align_celeba", "list_bbox_celeba"
LISTS = (PARTITION, ATTRIBUTES, IDENTITY, LANDMARKS, BOXES)

COUNT = 202_599
"""Pictures of the whole set."""

HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_GET = f"get it from {HOME} or with: latentscape data fetch celeba"

_PLACES = (".", "Anno", "Eval", "Img")
_FILE = re.compile(r"[\w-]+\.(jpg|jpeg|png)")
_MOST_BYTES = 16 << 20
"""No aligned face is a larger file."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of the set lie. pictures: the folder or the zip, None if neither is there."""

    root: Path
    pictures: Path | None
    lists: dict[str, Path]

    @property
    def is_whole(self) -> bool:
        """Whether pictures and partition are there."""
        return self.pictures is not None and PARTITION in self.lists


def find_celeba(folder: Path) -> Layout | None:
    """The layout in a folder, or None if none of the lists lies there. The folder of pictures itself will do."""
    root = folder.resolve().parent if folder.resolve().name == PICTURES else folder
    lists = {name: path for name in LISTS if (path := _find(root, f"{name}.txt", f"{name}.csv"))}
    if not lists:
        return None
    pictures = _find(root, PICTURES, ARCHIVE)
    if pictures is not None and (pictures / PICTURES).is_dir():  # the copy on Kaggle has one folder in the other
        pictures = pictures / PICTURES
    return Layout(root, pictures, lists)


def _find(root: Path, *names: str) -> Path | None:
    paths = (root / place / name for name in names for place in _PLACES)
    return next((path for path in paths if path.exists()), None)


def load_by_name(settings: DataSettings, *, progress: bool = False) -> Raw:
    """The whole set from a known place; see `fetching`. `DataError` if it is in none: it is never fetched unasked."""
    tried = places("celeba")
    found = [layout for place in tried if place.is_dir() and (layout := find_celeba(place))]
    if not found:
        raise DataError(
            f"celeba is not in {' nor in '.join(map(str, tried))}; get it (1.4 GB) with: latentscape data fetch celeba"
        )
    raw = load_celeba(found[0], settings, progress=progress)
    if raw.findings.found != COUNT:
        raise DataError(
            f"{found[0].root} must hold CelebA's {COUNT:,} pictures, found {raw.findings.found:,}; give its path to "
            "use it as it is, or get the whole set with: latentscape data fetch celeba"
        )
    return raw


def load_celeba(layout: Layout, settings: DataSettings, *, progress: bool = False) -> Raw:
    """Read the set through the packed cache: uint8 N×3×218×178, or of the settings' size; its own split.

    `--size S` with the default `--fit crop` resizes the short side to S and cuts the middle S×S out. Raises `DataError`
    for parts that are missing, lists that are damaged or do not agree, and pictures that are listed but not there.
    """
    if settings.label_column:
        raise DataError(
            f"--label-column is for tables, got {settings.label_column!r}; CelebA's attributes become the label with "
            "--label-attribute, for example --label-attribute Smiling"
        )
    if layout.pictures is None:
        raise DataError(f"{PICTURES}/ (or {ARCHIVE}) is missing in {layout.root}; {_GET}")
    if PARTITION not in layout.lists:
        raise DataError(f"{PARTITION}.txt, which says who trains and who tests, is missing in {layout.root}; {_GET}")
    there = _Archive(layout.pictures) if layout.pictures.is_file() else _Folder(layout.pictures)
    key = key_of(layout.root, settings, [*(stamp(path) for path in layout.lists.values()), *there.stamps()])
    if (found := cache.open_packed(key)) is not None:
        return found
    partition = read_list(layout.lists[PARTITION], ("partition",), (0, 1, 2))
    files = partition.files
    _check_there(layout, files, there)
    columns, notes = _known(layout, files)
    if unlisted := len(there) - len(files):
        notes.append(f"{unlisted:,} pictures are left out: {PARTITION} does not name them")

    def describe(raw: Raw, kept: list[int]) -> None:
        raw.split = partition.values[kept, 0].astype(np.uint8)
        raw.findings.notes += notes
        if columns:
            raw.attributes = np.stack([values[kept] for values in columns.values()], 1)
            raw.attribute_names = tuple(columns)

    name = "celeba" if len(files) == COUNT else layout.root.resolve().name
    where = str(layout.pictures)
    return packed(
        name, files, lambda i: there.get(files[i]), settings, describe, key=key, where=where, progress=progress
    )


def _check_there(layout: Layout, files: list[str], there: _Folder | _Archive) -> None:
    missing = [file for file in files if file not in there]
    if missing:
        named = layout.lists[PARTITION].name
        raise DataError(
            f"{layout.pictures} must hold every picture that {named} names, but {len(missing):,} of {len(files):,} are "
            f"missing, first {missing[0]}; unpack {ARCHIVE} again, or {_GET}"
        )
    if repeated := len(files) - len(set(files)):
        raise DataError(
            f"{layout.lists[PARTITION]} must name each picture once, found {repeated:,} named again; {_GET}"
        )


def _known(layout: Layout, files: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """(float32 N values of each attribute by its name, notes)."""
    columns: dict[str, np.ndarray] = {}
    for name, default, allowed in (
        (ATTRIBUTES, (), (-1, 1)),
        (IDENTITY, ("identity",), ()),
        (LANDMARKS, (), ()),
        (BOXES, (), ()),
    ):
        if name not in layout.lists:
            continue
        known = read_list(layout.lists[name], default, allowed)
        values_NA = _aligned(known, files, layout.lists[name])
        if name == ATTRIBUTES:
            values_NA = (values_NA + 1) / 2
        prefix = "box_" if name == BOXES else ""
        columns |= {prefix + column: values_NA[:, i] for i, column in enumerate(known.names)}
    if ATTRIBUTES in layout.lists:
        return columns, []
    return columns, [f"{ATTRIBUTES}.txt is not there, so that the pictures have no attributes; {_GET}"]


# ---- the lists -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """What one of the text files says: the pictures it names, its columns' names, and float32 N×A values."""

    files: list[str]
    names: tuple[str, ...]
    values: np.ndarray


def read_list(path: Path, names: tuple[str, ...], allowed: tuple[int, ...] = ()) -> Listed:
    """Read a list: perhaps a line with the count, perhaps one with the columns' names, then a picture to a line.

    names: what the columns are called where the file does not say. allowed: the values there may be; empty: all.
    Raises `DataError` with the number of the first line that is not as it should be, or if the count is not right.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").replace(",", " ").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())[:100]}); {_GET}") from None
    said, at = None, 0
    if lines and re.fullmatch(r"\s*\d+\s*", lines[0]):
        said, at = int(lines[0]), 1
    head = lines[at].split() if len(lines) > at else []
    if head and not _FILE.fullmatch(head[0]):
        names, at = tuple(head[1:] if head[0] == "image_id" else head), at + 1
    read = _reader(allowed)
    files: list[str] = []
    rows: list[list[int]] = []
    for number, line in enumerate(lines[at:], at + 1):
        words = line.split()
        if not words:
            continue
        numbers = _numbers(words[1:], read)
        if numbers is None or len(numbers) != len(names) or not _FILE.fullmatch(words[0]):
            raise DataError(_malformed(path, number, words, names, allowed))
        files.append(words[0])
        rows.append(numbers)
    if said is not None and said != len(files):
        raise DataError(f"{path} says that it names {said:,} pictures, found {len(files):,}; it is damaged, {_GET}")
    if not files:
        raise DataError(f"{path} must name pictures, found none; {_GET}")
    return Listed(files, names, np.array(rows, np.float32).reshape(len(files), len(names)))


def _numbers(words: list[str], read: Callable[[str], int]) -> list[int] | None:
    """The words as numbers, None if one is none."""
    try:
        return [read(word) for word in words]
    except (ValueError, KeyError):
        return None


def _reader(allowed: tuple[int, ...]) -> Callable[[str], int]:
    """What makes a word a number: whole ones, or those of `allowed` alone."""
    return {str(value): value for value in allowed}.__getitem__ if allowed else int


def _malformed(path: Path, number: int, words: list[str], names: tuple[str, ...], allowed: tuple[int, ...]) -> str:
    kind = f"of {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}" if allowed else "that are whole numbers"
    wanted = f"a picture's name and {len(names)} value{'s' * (len(names) != 1)} {kind}"
    odd = [word for word in words[1:] if _numbers([word], _reader(allowed)) is None]
    found = f"{odd[0][:20]!r}" if odd else f"{len(words) - 1} for {words[0][:20]!r}"
    return f"line {number} of {path} must hold {wanted}, found {found}; {_GET}"


def _aligned(known: Listed, files: list[str], path: Path) -> np.ndarray:
    """The values in the order of `files`, each of which the list must name."""
    if known.files == files:
        return known.values
    rows = {file: row for row, file in enumerate(known.files)}
    if missing := [file for file in files if file not in rows]:
        raise DataError(
            f"{path} must name every picture that {PARTITION} names, but {len(missing):,} of {len(files):,} are "
            f"missing, first {missing[0]}; {_GET}"
        )
    return known.values[[rows[file] for file in files]]


# ---- the pictures ----------------------------------------------------------------------------------------------------


class _Folder:
    """Pictures as files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with os.scandir(path) as entries:
            self.found = {e.name: e.stat() for e in entries if _FILE.fullmatch(e.name)}

    def __contains__(self, file: str) -> bool:
        return file in self.found

    def __len__(self) -> int:
        return len(self.found)

    def stamps(self) -> Iterator[str]:
        for name in sorted(self.found):
            yield f"{name}\0{self.found[name].st_size}\0{self.found[name].st_mtime_ns}"

    def get(self, file: str) -> Path:
        return self.path / file


class _Archive:
    """Pictures in the zip, read where they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members = dict(members(path))
        self.archive = zipfile.ZipFile(path)

    def __contains__(self, file: str) -> bool:
        return file in self.members

    def __len__(self) -> int:
        return len(self.members)

    def stamps(self) -> list[str]:
        return [stamp(self.path)]

    def get(self, file: str) -> bytes:
        return _content(self.archive, self.members[file])


def members(path: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The pictures of the zip by their file's name alone; whatever else is in it is passed over. `DataError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path} is not a zip file that can be read ({reason}); {_GET}") from None
    seen: set[str] = set()
    for info in infos:
        folder, _, file = info.filename.rpartition("/")
        if folder.rpartition("/")[2] != PICTURES or "__MACOSX" in folder or not _FILE.fullmatch(file):
            continue
        if file in seen:
            raise DataError(f"{path} must hold each picture once, found {file} twice; {_GET}")
        seen.add(file)
        yield file, info


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One picture; never more than a picture may have, whatever the zip says of itself."""
    try:
        with archive.open(info) as f:
            content = f.read(_MOST_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise UnreadableError(f"damaged in the zip: {' '.join(str(error).split())[:100]}") from None
    if len(content) > _MOST_BYTES:
        raise UnreadableError(f"more than the {_MOST_BYTES:,} bytes that a face may have")
    return content


def count_pictures(folder: Path) -> int:
    """How many pictures lie unpacked in a folder."""
    return len(_Folder(folder / PICTURES)) if (folder / PICTURES).is_dir() else 0


def extract(path: Path, report: Callable[[str], None]) -> Path:
    """Unpack the zip's pictures into `img_align_celeba` beside it, unless they are there; returns that folder.

    Every file is written under the last part of its name alone, into a temporary folder that takes its final name when
    it is whole. Nothing but pictures is unpacked. Raises `DataError` and `DiskFull`.
    """
    final = path.parent / PICTURES
    wanted = dict(members(path))
    if not wanted:
        raise DataError(f"{path} must hold {PICTURES}/NNNNNN.jpg, found no picture there; {_GET}")
    if final.is_dir():
        if (there := count_pictures(path.parent)) < len(wanted):
            raise DataError(
                f"{final} holds {there:,} of {len(wanted):,} pictures; remove it to have them unpacked again"
            )
        report(f"{PICTURES}: already unpacked, {there:,} pictures")
        return final
    report(f"{path.name}: unpacking {len(wanted):,} pictures")
    with cache.writing(path.parent):
        place = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=path.parent))
        try:
            with zipfile.ZipFile(path) as archive:
                for file, info in wanted.items():
                    try:
                        (place / file).write_bytes(_content(archive, info))
                    except UnreadableError as reason:
                        raise DataError(f"{file} in {path} cannot be unpacked: {reason}; {_GET}") from None
            place.chmod(0o755)
            place.rename(final)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return final
