"""The split by content: the same picture gets the same part in every set, on every machine, in every order.

Each example is hashed; its hash, read as a number u in [0, 1), decides: test below the test fraction, then valid,
then train. Copies of one picture therefore never stand on both sides.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from latentscape.data.digest import DIGEST_BYTES, digest
from latentscape.data.settings import DataSettings
from latentscape.errors import DataError

TRAIN, VALID, TEST = 0, 1, 2


def digests_of(x_NX: Tensor) -> np.ndarray:
    """uint8 N×16: the digest of each example's bytes in row-major order."""
    n = len(x_NX)
    joined = b"".join(
        digest(memoryview(row)) for start in range(0, n, 4096) for row in _rows(x_NX[start : start + 4096])
    )
    return np.frombuffer(joined, np.uint8).reshape(n, DIGEST_BYTES).copy()


def _rows(x_NX: Tensor) -> np.ndarray:
    """N×bytes, contiguous, little-endian on every machine."""
    flat = np.ascontiguousarray(x_NX.reshape(len(x_NX), -1).numpy())
    return flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(np.uint8)


def positions(digests_N: np.ndarray, which: int = 0) -> np.ndarray:
    """float64 N in [0, 1) from the first (`which` = 0) or second half of each digest: two independent uniforms."""
    half = np.ascontiguousarray(digests_N[:, 8 * which : 8 * which + 8])
    return (half.view("<u8").reshape(-1) >> np.uint64(11)).astype(np.float64) / 2.0**53


def assign_split(digests_N: np.ndarray, own: np.ndarray | None, settings: DataSettings) -> np.ndarray:
    """uint8 N of 0 train, 1 valid, 2 test.

    `own` is the source's split. It is kept where it exists, unless `test_fraction` is given (≥ 0), which splits
    everything anew; a validation part that it lacks, or that `valid_fraction` asks for, is taken out of its
    training part by hash. Raises `DataError` if no training example remains.
    """
    u_N = positions(digests_N)
    if own is None or settings.test_fraction >= 0:
        shares = (settings.test_fraction, 0.1), (settings.valid_fraction, 0.1)
        free_N = np.ones(len(u_N), bool)
        split = np.zeros(len(u_N), np.uint8)
    else:
        split = own.astype(np.uint8).copy()
        if settings.valid_fraction >= 0:
            split[split == VALID] = TRAIN
        shares = (-1.0, 0.0 if (own == TEST).any() else 0.1), (settings.valid_fraction, 0.0)
        free_N = split == TRAIN
    test_share, valid_share = (share if share >= 0 else default for share, default in shares)
    split[free_N & (u_N < test_share)] = TEST
    split[free_N & (u_N >= test_share) & (u_N < test_share + valid_share)] = VALID
    _fill(split, u_N, free_N, {TEST: test_share, VALID: valid_share})
    if not (split == TRAIN).any():
        raise DataError(f"no training images remain of {len(split):,}; lower --valid-fraction and --test-fraction")
    return split


def _fill(split: np.ndarray, u_N: np.ndarray, free_N: np.ndarray, shares: dict[int, float]) -> None:
    """Give a part that chance left empty the free training pictures of extreme hash, all copies together."""
    if free_N.sum() < 10:
        if not (split == TRAIN).any() and free_N.any():
            split[u_N == u_N[free_N].max()] = TRAIN
        return
    for part, share in shares.items():
        train_N = free_N & (split == TRAIN)
        if share > 0 and not (split == part).any() and len(np.unique(u_N[train_N])) > 1:
            split[train_N & (u_N == u_N[train_N].min())] = part
    if not (split == TRAIN).any():
        split[free_N & (u_N == u_N[free_N].max())] = TRAIN


def choose(digests_N: np.ndarray, split: np.ndarray, limit: int) -> np.ndarray:
    """Ascending positions of at most `limit` examples per part, chosen by hash so that classes stay mixed."""
    order_N = positions(digests_N, 1)
    kept = [
        part[np.argsort(order_N[part], kind="stable")[:limit]]
        for part in (np.flatnonzero(split == s) for s in range(3))
    ]
    return np.sort(np.concatenate(kept))


def leaked(digests_N: np.ndarray, split: np.ndarray) -> int:
    """How many test examples also stand, exactly equal, in the training part of the source's own split."""
    keys_N = np.ascontiguousarray(digests_N).view(f"V{DIGEST_BYTES}").reshape(-1)
    train = set(keys_N[split == TRAIN].tolist())
    return sum(key in train for key in keys_N[split == TEST].tolist())
