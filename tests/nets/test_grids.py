"""Nets to a grid of features and back."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from latentscape.config import DataShape
from latentscape.errors import ConfigError
from latentscape.nets import conv

SHAPES = [(1, 1, 1), (1, 8, 8), (3, 9, 12), (3, 37, 50), (1, 28, 28), (2, 1, 7)]


def possible(dims: tuple[int, ...]) -> list[int]:
    return [m for m in (0, 1, 2, 3) if 2 ** max(0, m - 1) < max(dims[1:])] if max(dims[1:]) > 1 else [0]


CASES = [(dims, m) for dims in SHAPES for m in possible(dims)]


@pytest.mark.parametrize(("dims", "halvings"), CASES)
@pytest.mark.parametrize("norm", [False, True])
def test_a_picture_becomes_a_grid_and_a_picture_of_its_size(dims: tuple[int, ...], halvings: int, norm: bool) -> None:
    torch.manual_seed(0)
    shape = DataShape(dims)
    encoder = conv.grid_encoder(shape, 5, width=6, halvings=halvings, norm=norm)
    decoder = conv.grid_decoder(5, shape, width=6, halvings=halvings, norm=norm)
    z_BCHW = encoder(torch.rand(3, *dims))
    assert z_BCHW.shape == (3, 5, *conv.grid_size(shape, halvings))
    out_BCHW = decoder(z_BCHW)
    assert out_BCHW.shape == (3, *dims)
    (out_BCHW - torch.rand(3, *dims)).square().sum().backward()
    for name, p in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dims", [(1, 9, 12), (1, 7, 3)])
def test_every_pixel_reaches_the_grid_and_is_reached(dims: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    shape = DataShape(dims)
    encoder = conv.grid_encoder(shape, 2, width=8, halvings=2, activation=nn.Tanh)
    x = torch.rand(1, *dims, requires_grad=True)
    assert (torch.autograd.grad(encoder(x).square().sum(), x)[0] != 0).all()
    decoder = conv.grid_decoder(2, shape, width=8, halvings=2, activation=nn.Tanh)
    one, other = decoder(torch.randn(2, 2, *conv.grid_size(shape, 2)))
    assert (one != other).all()


def test_a_grid_keeps_places() -> None:
    """A change far away from a grid's cell does not reach it: convolutions only, nothing global."""
    torch.manual_seed(0)
    encoder = conv.grid_encoder(DataShape((1, 64, 64)), 2, width=4, halvings=2)
    x = torch.rand(1, 1, 64, 64)
    changed = x.clone()
    changed[:, :, 48:, 48:] += 1
    before, after = encoder(x), encoder(changed)
    assert torch.equal(before[:, :, :4, :4], after[:, :, :4, :4])
    assert not torch.equal(before[:, :, -4:, -4:], after[:, :, -4:, -4:])


def test_the_paper_s_layers() -> None:
    """Section 4.1: two strided 4×4 convolutions and two residual blocks; the decoder mirrors them; 256 filters."""
    shape = DataShape((3, 32, 32))
    encoder = conv.grid_encoder(shape, 64, width=256, halvings=2)
    decoder = conv.grid_decoder(64, shape, width=256, halvings=2)
    strided = [m for m in encoder if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    transposed = [m for m in decoder if isinstance(m, nn.ConvTranspose2d)]
    for layers in (strided, transposed):
        assert [(m.kernel_size, m.stride, m.padding) for m in layers] == [((4, 4), (2, 2), (1, 1))] * 2
    for net in (encoder, decoder):
        blocks = [m for m in net if isinstance(m, conv.Residual)]
        assert [[type(m).__name__ for m in b.branch] for b in blocks] == [["ReLU", "Conv2d", "ReLU", "Conv2d"]] * 2
        assert [m.kernel_size for b in blocks for m in b.branch if isinstance(m, nn.Conv2d)] == [(3, 3), (1, 1)] * 2
    block = 256 * 256 * 10 + 2 * 256
    expected = (3 * 16 * 256 + 256) + (256 * 16 * 256 + 256) + (256 * 9 * 256 + 256) + 2 * block + 256 * 64 + 64
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_the_settings_change_the_net() -> None:
    shape = DataShape((1, 8, 8))
    for make in (partial(conv.grid_encoder, shape, 4), partial(conv.grid_decoder, 4, shape)):

        def text(make=make, **changes) -> str:
            return str(make(**{"width": 4, "halvings": 1, "norm": False, **changes}))

        assert "BatchNorm2d" in text(norm=True)
        assert "BatchNorm2d" not in text()
        assert "ReLU(" in text()
        assert "ReLU(" not in text(activation=nn.Tanh)
        assert text(width=5) != text()
        assert text(halvings=2) != text()


@pytest.mark.parametrize(("dims", "most"), [((1, 8, 8), 3), ((1, 28, 28), 5), ((1, 1, 1), 0), ((1, 3, 9), 4)])
def test_more_halvings_than_pixels_are_refused(dims: tuple[int, ...], most: int) -> None:
    shape = DataShape(dims)
    assert conv.grid_size(shape, most) == (1, 1)
    for make in (partial(conv.grid_encoder, shape, 4), partial(conv.grid_decoder, 4, shape)):
        make(width=2, halvings=most)
        with pytest.raises(ConfigError, match=f"can be halved at most {most} times, got {most + 1}$"):
            make(width=2, halvings=most + 1)
