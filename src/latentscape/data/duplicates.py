"""Pictures that stand in a set more than once, exactly or but for their encoding.

Near-duplicates are looked for on thumbnails: 16×16 block means of brightness and 4×4 of each colour. Candidates have
nearly the same 64-bit difference hash (is a cell of an 8×9 lattice darker than its right neighbour?) and stand close
when the hashes are sorted, from four starting bits; they count if no cell differs by more than a few levels.
Block means hardly move when a picture is compressed again or resized, but two different digits, or two photographs
of one face, always differ somewhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentscape.data.split import DIGEST_BYTES

MOST_BITS = 6
"""Pictures whose hashes are further apart than this are not compared."""

MOST_LEVELS = 12
"""The largest difference, of 255, that a thumbnail's cell may show between near-duplicates."""

_SIDE = 16
_MARGIN = 2  # levels; keeps noise in flat areas out of the hash
_NEIGHBOURS = 8
_CHUNK = 256  # small enough to stay in the processor's cache


def exact_groups(digests_N: np.ndarray, files: tuple[str, ...]) -> list[list[str]]:
    """Files with the same decoded content, in groups of two and more, in the files' order."""
    groups: dict[bytes, list[str]] = {}
    for key, file in zip(_keys(digests_N).tolist(), files, strict=True):
        groups.setdefault(key, []).append(file)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(x_NCHW: Tensor, digests_N: np.ndarray) -> list[tuple[int, int]]:
    """Positions (a < b) of near-duplicates in uint8 N×C×H×W, exact copies apart; each picture's first copy only."""
    first_M = np.sort(np.unique(_keys(digests_N), return_index=True)[1])
    if len(first_M) < 2:
        return []
    thumbs_MK = thumbnails(x_NCHW, first_M)
    pairs = _candidates(_hashes(thumbs_MK))
    alike = [_alike(thumbs_MK, part) for part in np.array_split(pairs, len(pairs) // (64 * _CHUNK) + 1)]
    return [(int(first_M[a]), int(first_M[b])) for a, b in pairs[np.concatenate(alike)]]


def _keys(digests_N: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(digests_N).view(f"V{DIGEST_BYTES}").reshape(-1)


def thumbnails(x_NCHW: Tensor, positions_M: np.ndarray) -> np.ndarray:
    """uint8 M×K block means of some pictures: 16×16 of the channels' mean, then 4×4 of each of several channels."""
    channels = x_NCHW.shape[1]
    thumbs = np.empty((len(positions_M), _SIDE**2 + (16 * channels if channels > 1 else 0)), np.uint8)
    for start in range(0, len(positions_M), _CHUNK):
        part = x_NCHW.index_select(0, torch.from_numpy(positions_M[start : start + _CHUNK])).float()
        cells = _means(part, _SIDE)
        kinds = [cells.mean(1).flatten(1)] + ([_means(cells, 4).flatten(1)] if channels > 1 else [])
        thumbs[start : start + _CHUNK] = torch.cat(kinds, 1).round().to(torch.uint8).numpy()
    return thumbs


def _means(x_BCHW: Tensor, side: int) -> Tensor:
    """B×C×side×side means over a lattice of side×side equal blocks."""
    across = x_BCHW @ _blocks(x_BCHW.shape[3], side).T  # weights on the right: one large product, not B small ones
    return (across.transpose(2, 3) @ _blocks(x_BCHW.shape[2], side).T).transpose(2, 3)


def _blocks(length: int, side: int) -> Tensor:
    """side×length weights that average over equal stretches of `length` pixels, cutting pixels where they must."""
    edges = torch.linspace(0, length, side + 1)
    pixel = torch.arange(length)
    shared = (torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)).clamp(min=0)
    return shared / shared.sum(1, keepdim=True)


def _hashes(thumbs_MK: np.ndarray) -> np.ndarray:
    """uint64 difference hash of each thumbnail's brightness."""
    rows = thumbs_MK[:, : _SIDE**2].reshape(len(thumbs_MK), 8, 2, _SIDE).mean(2, dtype=np.float32)
    columns = np.linspace(0, _SIDE - 2, 9).round().astype(int)
    cells = (rows[..., columns] + rows[..., columns + 1]) / 2
    bits = cells[..., :-1] + _MARGIN < cells[..., 1:]
    return np.packbits(bits.reshape(len(bits), 64), axis=1).view("<u8").reshape(-1).astype(np.uint64)


def _candidates(hashes_M: np.ndarray) -> np.ndarray:
    """P×2 positions (a < b) of pictures with close hashes, each pair once."""
    codes = []
    for shift in (0, 16, 32, 48):
        turned = (hashes_M << np.uint64(shift)) | (hashes_M >> np.uint64((64 - shift) % 64))
        order = np.argsort(turned, kind="stable")
        for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            a, b = order[:-step], order[step:]
            close = np.bitwise_count(hashes_M[a] ^ hashes_M[b]) <= MOST_BITS
            codes.append(np.minimum(a, b)[close] * len(order) + np.maximum(a, b)[close])
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), len(hashes_M)), 1)


def _alike(thumbs_MK: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """bool P: whether no cell differs by more than `MOST_LEVELS`."""
    a, b = (thumbs_MK[column].astype(np.int16) for column in pairs_P2.T)
    return np.abs(a - b).max(1) <= MOST_LEVELS
