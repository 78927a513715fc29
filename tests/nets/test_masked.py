"""Masked convolutions see the past, all of it that their kernel covers, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from latentscape.nets.masked import MaskedConv2d


def seen(net: nn.Module, channels: int, height: int, width: int) -> Tensor:
    """Which input values each output value depends on, bool: (outputs, H, W, inputs, H, W)."""
    x = torch.randn(1, channels, height, width, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x)[0], x)
    assert isinstance(jacobian, Tensor)
    return jacobian[:, :, :, 0] != 0


def order(channels: int, height: int, width: int, colours: int) -> Tensor:
    """When each value comes: pixels in reading order, colours within a pixel; (channels, H, W)."""
    pixel = torch.arange(height * width).view(1, height, width)
    colour = torch.arange(channels).view(-1, 1, 1) // (channels // colours)
    return pixel * colours + colour


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("kind", ["A", "B"])
def test_one_layer_sees_exactly_the_past_under_its_kernel(kind: str, kernel: int, colours: int) -> None:
    torch.manual_seed(0)
    height, width, into, out = 4, 5, colours, 2 * colours
    layer = MaskedConv2d(kind, into, out, kernel, colours=colours).double()
    now, then = order(out, height, width, colours), order(into, height, width, colours)
    now, then = now[..., None, None, None], then[None, None, None]
    past = then < now if kind == "A" else then <= now
    rows, columns = torch.arange(height), torch.arange(width)
    near_rows = (rows[:, None] - rows).abs() <= kernel // 2
    near_columns = (columns[:, None] - columns).abs() <= kernel // 2
    near = near_rows[None, :, None, None, :, None] & near_columns[None, None, :, None, None, :]
    assert torch.equal(seen(layer, into, height, width), past & near)


@pytest.mark.parametrize("colours", [1, 3])
def test_a_net_that_starts_with_type_a_is_causal(colours: int) -> None:
    torch.manual_seed(0)
    into, filters, out = colours, 4 * colours, 2 * colours
    net = nn.Sequential(
        MaskedConv2d("A", into, filters, 5, colours=colours),
        nn.ELU(),
        MaskedConv2d("B", filters, filters, 3, colours=colours),
        nn.ELU(),
        MaskedConv2d("B", filters, out, 1, colours=colours),
    ).double()
    found = seen(net, into, 5, 6)
    now = order(out, 5, 6, colours)[..., None, None, None]
    then = order(into, 5, 6, colours)[None, None, None]
    assert not (found & (then >= now)).any()
    just_before = (found & (then == now - 1)).flatten(3).any(3)
    assert just_before[:, :, 1:].all()  # in the first column it lies at the end of the row above


def test_parameters_are_those_of_a_convolution_and_hidden_weights_never_move() -> None:
    torch.manual_seed(0)
    layer, plain = MaskedConv2d("A", 2, 4, 3), nn.Conv2d(2, 4, 3)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    layer(torch.randn(2, 2, 6, 6)).square().sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad != 0, layer.mask != 0)
    assert layer.mask.sum() == 4 * 2 * 4
    assert MaskedConv2d("B", 2, 4, 3, bias=False).bias is None


def test_what_has_no_middle_or_no_colours_is_refused() -> None:
    with pytest.raises(ValueError, match="an odd kernel; got 4"):
        MaskedConv2d("A", 1, 1, 4)
    for into, out in ((3, 4), (4, 3)):
        with pytest.raises(ValueError, match=f"{into} and {out} channels must be multiples of the 3 colours"):
            MaskedConv2d("A", into, out, 3, colours=3)
