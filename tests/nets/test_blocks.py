"""The rewritten last convolution equals the plain one, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from latentscape.nets.blocks import SMALL_PRODUCT, DoublingConv2d, Linear, NarrowConv2d


def pair(*args, **kwargs) -> tuple[NarrowConv2d, nn.Conv2d]:
    torch.manual_seed(0)
    narrow, plain = NarrowConv2d(*args, **kwargs).double(), nn.Conv2d(*args, **kwargs).double()
    plain.load_state_dict(narrow.state_dict())
    return narrow, plain


def gradients(layer: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = layer(x)
    weight = torch.linspace(0.5, 2, out.numel(), dtype=out.dtype).view_as(out)
    return out, list(torch.autograd.grad((weight * out).sum(), [x, *layer.parameters()]))


def assert_same(narrow: nn.Module, plain: nn.Module, x: Tensor) -> None:
    (a, by_a), (b, by_b) = gradients(narrow, x), gradients(plain, x)
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(by_a, by_b, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


CASES = [(k, p, c) for k in (1, 3, 5, 7) for p in range(min(k, 4)) for c in (1, 3, 4, 5)]


@pytest.mark.parametrize(("kernel", "padding", "out_channels"), CASES)
def test_equals_the_plain_convolution(kernel: int, padding: int, out_channels: int) -> None:
    narrow, plain = pair(6, out_channels, kernel, 1, padding)
    assert_same(narrow, plain, torch.randn(2, 6, 9, 7, dtype=torch.float64))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "padding"), [((3, 5), (1, 2)), ((7, 1), (3, 0)), ((7, 7), (1, 3))])
def test_equals_it_with_oblong_kernels_and_padding(kernel: tuple, padding: tuple, bias: bool) -> None:
    narrow, plain = pair(3, 2, kernel, 1, padding, bias=bias)
    assert_same(narrow, plain, torch.randn(2, 3, 8, 11, dtype=torch.float64))


@pytest.mark.parametrize("batch", [1, 3])
def test_equals_it_in_channels_last(batch: int) -> None:
    narrow, plain = (layer.to(memory_format=torch.channels_last) for layer in pair(8, 1, 7, 1, 1))
    x = torch.randn(batch, 8, 12, 10, dtype=torch.float64).to(memory_format=torch.channels_last)
    assert_same(narrow, plain, x)


def test_equals_it_where_the_picture_is_smaller_than_the_kernel() -> None:
    narrow, plain = pair(2, 1, 7, 1, 3)
    assert_same(narrow, plain, torch.randn(2, 2, 1, 2, dtype=torch.float64))


UNUSUAL = [
    {"stride": 2},
    {"stride": (1, 2)},
    {"dilation": 2},
    {"groups": 2},
    {"padding_mode": "reflect"},
    {"padding_mode": "circular"},
    {"padding": 3},
    {"padding": (0, 4)},
    {"padding": "same"},
    {"padding": "valid"},
]


@pytest.mark.parametrize("unusual", UNUSUAL, ids=str)
def test_equals_it_with_options_that_cannot_be_rewritten(unusual: dict) -> None:
    narrow, plain = pair(4, 2, 3, **{"padding": 1, **unusual})
    assert_same(narrow, plain, torch.randn(2, 4, 9, 7, dtype=torch.float64))


def test_equals_it_on_a_lone_picture_without_a_batch() -> None:
    narrow, plain = pair(4, 2, 3, padding=1)
    assert_same(narrow, plain, torch.randn(4, 9, 7, dtype=torch.float64))


def test_its_parameters_are_those_of_the_plain_convolution() -> None:
    narrow, plain = pair(8, 1, 7, 1, 1)
    assert {k: v.shape for k, v in narrow.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}


def test_low_precision_keeps_the_sum_of_many_taps() -> None:
    torch.manual_seed(0)
    layer = NarrowConv2d(32, 1, 7, 1, 1)
    x = torch.randn(2, 32, 16, 16)
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = layer(x)
    assert (rough.float() - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_doubling_convolution_equals_the_plain_transposed_one(grid, memory_format) -> None:
    torch.manual_seed(0)
    ours, plain = DoublingConv2d(5, 3).double(), nn.ConvTranspose2d(5, 3, 3, 2, 1, 1).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(4, 5, *grid, dtype=torch.double).to(memory_format=memory_format)
    out, grads = gradients(ours.to(memory_format=memory_format), x)
    expected, expected_grads = gradients(plain, x)
    assert out.shape == (4, 3, 2 * grid[0], 2 * grid[1])
    torch.testing.assert_close(out, expected)
    for ours_, theirs in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(ours_, theirs)


@pytest.mark.parametrize(("width", "kind"), [(64, torch.float32), (1024, torch.bfloat16)])
def test_small_linear_layers_stay_in_float32(width: int, kind: torch.dtype) -> None:
    layer = Linear(width, width)
    x = torch.randn(16, width)
    assert (16 * width * width <= SMALL_PRODUCT) == (kind == torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == kind
    assert torch.allclose(out.float(), torch.nn.functional.linear(x, layer.weight, layer.bias), atol=0.05)
    assert layer(x).dtype == torch.float32
