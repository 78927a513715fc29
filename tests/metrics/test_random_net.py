"""The random net: the same every time, for any picture, and it ranks planted faults."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentscape.metrics import frechet
from latentscape.metrics.random_net import FEATURES, RandomNet


def stripes(n: int, seed: int) -> Tensor:
    """Bars at random places and grey levels."""
    rng = torch.Generator().manual_seed(seed)
    at, level = torch.randint(1, 14, (n, 1, 1, 1), generator=rng), 0.4 + 0.6 * torch.rand(n, 1, 1, 1, generator=rng)
    place = torch.arange(16).view(1, 1, 1, 16)
    return (((place - at).abs() <= 1) * level).expand(n, 1, 16, 16).contiguous()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 12), (4, 1, 1), (3, 130, 70)])
def test_any_picture_has_features_of_one_scale(shape: tuple[int, ...]) -> None:
    x = torch.rand(60, *shape, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    net = RandomNet(shape[0])
    net.settle([x[:30], x[30:]])
    with torch.no_grad():
        found = net(x)
        torch.manual_seed(2)
        other = RandomNet(shape[0])
        other.settle([x])
        torch.testing.assert_close(other(x), found, rtol=1e-3, atol=1e-3)
    assert found.shape == (60, FEATURES)
    assert float(found.mean(0).abs().max()) < 1e-3
    assert float(found.var(0).mean()) == pytest.approx(0.9, abs=0.4)


def test_distances_in_it_rank_faults_by_their_size() -> None:
    net = RandomNet(1)
    real = stripes(400, 0)
    net.settle([real])
    noise = torch.rand(400, 1, 16, 16, generator=torch.Generator().manual_seed(1)) - 0.5

    def fid(x: Tensor) -> float:
        with torch.no_grad():
            return frechet.distance(net(real), net(x.clamp(0, 1)))

    fresh = stripes(400, 2)
    floor = fid(fresh)
    for faults in (
        [fresh + s * noise for s in (0.1, 0.3, 0.8)],
        [F.avg_pool2d(fresh, k, 1, k // 2, count_include_pad=False) for k in (3, 5, 9)],
        [fresh[: 400 // share].repeat(share, 1, 1, 1) for share in (8, 40, 400)],
    ):
        found = [floor, *map(fid, faults)]
        assert found == sorted(found)
        assert found[-1] > 3 * floor
