"""InceptionV3 as the FID of papers takes it: the TensorFlow net of 2015, under the names of its PyTorch weights.

Source: Szegedy et al. 2016 (arXiv 1512.00567) for the net, and pytorch-fid (https://github.com/mseitzer/pytorch-fid)
for what differs in the weights of 2015-12-05: averages that leave padding out, and a maximum in the last block's
pooling branch. The weights are a file of their own, which is not part of this package.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILE = "pt_inception-2015-12-05-6726825d.pth"
"""What the file of weights is called where pytorch-fid publishes it."""

SIDE, FEATURES, CLASSES = 299, 2048, 1008
"""Pixels that pictures are brought to; values of the last pooling; and of the layer after it, which is in the file."""

Size = int | tuple[int, int]


class _Conv(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, before: int, after: int, size: Size, stride: int = 1, pad: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, pad, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2)


def _across(before: int, after: int) -> _Conv:
    return _Conv(before, after, (1, 7), pad=(0, 3))


def _down(before: int, after: int) -> _Conv:
    return _Conv(before, after, (7, 1), pad=(3, 0))


class _A(nn.Module):
    def __init__(self, before: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(before, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = _Conv(before, 48, 1), _Conv(48, 64, 5, pad=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(before, 64, 1), _Conv(64, 96, 3, pad=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, pad=1)
        self.branch_pool = _Conv(before, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), twice, self.branch_pool(_average(x))], 1
        )


class _B(nn.Module):
    def __init__(self, before: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(before, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(before, 64, 1), _Conv(64, 96, 3, pad=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, _halved(x)], 1)


class _C(nn.Module):
    def __init__(self, before: int, c: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(before, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = _Conv(before, c, 1), _across(c, c)
        self.branch7x7_3 = _down(c, 192)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _Conv(before, c, 1), _down(c, c)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _across(c, c), _down(c, c)
        self.branch7x7dbl_5 = _across(c, 192)
        self.branch_pool = _Conv(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class _D(nn.Module):
    def __init__(self, before: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _Conv(before, 192, 1), _Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = _Conv(before, 192, 1), _across(192, 192)
        self.branch7x7x3_3, self.branch7x7x3_4 = _down(192, 192), _Conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, _halved(x)], 1)


class _E(nn.Module):
    """`most`: the pooling branch takes maxima, as the last block of the weights of 2015 does."""

    def __init__(self, before: int, *, most: bool) -> None:
        super().__init__()
        self.most = most
        self.branch1x1, self.branch3x3_1 = _Conv(before, 320, 1), _Conv(before, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = _Conv(384, 384, (1, 3), pad=(0, 1)), _Conv(384, 384, (3, 1), pad=(1, 0))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(before, 448, 1), _Conv(448, 384, 3, pad=1)
        self.branch3x3dbl_3a = _Conv(384, 384, (1, 3), pad=(0, 1))
        self.branch3x3dbl_3b = _Conv(384, 384, (3, 1), pad=(1, 0))
        self.branch_pool = _Conv(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once, twice = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.most else _average(x)
        split = [self.branch3x3_2a(once), self.branch3x3_2b(once)]
        split += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(x), *split, self.branch_pool(pooled)], 1)


class Inception(nn.Module):
    """Pictures on [0, 1], grey or colour → 2048 features, the means of the last block."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = _Conv(3, 32, 3, 2), _Conv(32, 32, 3)
        self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = _Conv(32, 64, 3, pad=1), _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (_C(768, c) for c in (128, 160, 160, 192))
        self.Mixed_7a = _D(768)
        self.Mixed_7b, self.Mixed_7c = _E(1280, most=False), _E(2048, most=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×1×H×W or B×3×H×W → B×2048; brought to 299×299 bilinearly, without smoothing first."""
        x = F.interpolate(x_BCHW, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=False)
        x = 2 * x.expand(-1, 3, -1, -1) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_halved(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(_halved(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))
