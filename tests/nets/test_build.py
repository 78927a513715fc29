"""Every setting of the nets does what its help says, and no net is other than it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentscape.config import DataShape
from latentscape.nets import blocks, build, conv, mlp
from latentscape.nets.build import NetSettings

IMAGE, VECTOR = DataShape((1, 8, 8)), DataShape((5,))
NETS: list[tuple[DataShape, str]] = [(IMAGE, "mlp"), (IMAGE, "conv"), (IMAGE, "resnet"), (VECTOR, "mlp")]
SMALL: dict[str, dict[str, Any]] = {"mlp": {"hidden": (6, 4)}, "conv": {"width": 4}, "resnet": {"width": 4}}


def both(shape: DataShape, net: str, **changes: Any) -> list[nn.Module]:
    torch.manual_seed(0)
    settings = NetSettings(**{"net": net, **SMALL[net], **changes})
    return [build.encoder(shape, 3, settings), build.decoder(3, shape, settings)]


def text(shape: DataShape, net: str, **changes: Any) -> str:
    return "\n".join(map(str, both(shape, net, **changes)))


# Settings that a net reads, each with a value that is not the default's effect.
READ: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (7,), "norm": "batch", "activation": "tanh"},
    "conv": {"width": 5, "depth": 1, "norm": "none", "activation": "relu", "slope": 0.2},
    "resnet": {"width": 3, "norm": "none", "activation": "tanh", "first_conv": True, "maxpool1": True},
}


@pytest.mark.parametrize(("net", "name"), [(net, name) for net, names in READ.items() for name in names])
def test_each_setting_changes_encoder_and_decoder(net: str, name: str) -> None:
    before, after = both(IMAGE, net), both(IMAGE, net, **{name: READ[net][name]})
    for one, other in zip(before, after, strict=True):
        assert str(one) != str(other)


def test_every_setting_is_read_by_some_net() -> None:
    assert {f.name for f in dataclasses.fields(NetSettings)} == {"net"}.union(*READ.values())


KINDS = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


@pytest.mark.parametrize(("shape", "net"), NETS)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_activations_are_those_asked_for_and_let_gradients_through(
    shape: DataShape, net: str, name: str, norm: str
) -> None:
    encoder, decoder = both(shape, net, activation=name, norm=norm, slope=0.2)
    for made in (encoder, decoder):
        found = [m for m in made.modules() if isinstance(m, tuple(KINDS.values()))]
        assert found
        assert all(type(m) is KINDS[name] for m in found)
        assert all(m.negative_slope == 0.2 for m in found if isinstance(m, nn.LeakyReLU))
    x_BX = torch.rand(8, *shape.dims)
    (decoder(encoder(x_BX)) - x_BX).square().sum().backward()
    for p in [*encoder.parameters(), *decoder.parameters()]:
        assert p.grad is not None
        assert p.grad.any()


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.2])
def test_activations_in_place_have_the_same_values_and_gradients(slope: float) -> None:
    for name in KINDS:
        results = []
        for inplace in (False, True):
            x = torch.linspace(-2, 2, 9, requires_grad=True)
            out = blocks.activation(name, slope, inplace=inplace)()(x * 1)
            results.append((out, torch.autograd.grad(out.square().sum(), x)[0]))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])


def test_auto_stands_for_the_papers_activations() -> None:
    found = {
        net: {
            (type(m), getattr(m, "negative_slope", None)) for m in made.modules() if isinstance(m, (*KINDS.values(),))
        }
        for net in SMALL
        for made in both(IMAGE, net)
    }
    assert found == {"mlp": {(nn.ReLU, None)}, "conv": {(nn.LeakyReLU, 0.01)}, "resnet": {(nn.ReLU, None)}}


def test_an_unset_width_is_the_papers() -> None:
    assert build.width(IMAGE, NetSettings()) == 32
    assert build.width(IMAGE, NetSettings(net="resnet")) == 64
    assert build.width(IMAGE, NetSettings(net="resnet", width=32)) == 32
    assert text(IMAGE, "conv", width=None) == text(IMAGE, "conv", width=32)
    assert text(IMAGE, "resnet", width=None) == text(IMAGE, "resnet", width=64)


def test_which_nets_are_convolutional() -> None:
    found = {net: build.is_convolutional(IMAGE, NetSettings(net=net)) for net in ("auto", "mlp", "conv", "resnet")}
    assert found == {"auto": True, "mlp": False, "conv": True, "resnet": True}
    assert not build.is_convolutional(VECTOR, NetSettings())
    assert build.kind(IMAGE, NetSettings(net="resnet")) == "resnet"
    assert build.has_norm(IMAGE, NetSettings(net="resnet"))
    assert not build.has_norm(IMAGE, NetSettings(net="resnet", norm="none"))


@pytest.mark.parametrize(("shape", "net"), NETS)
def test_a_trunk_is_the_encoder_without_its_last_layer(shape: DataShape, net: str) -> None:
    settings = NetSettings(net=net, **SMALL[net])
    torch.manual_seed(0)
    encoder = build.encoder(shape, 1, settings).eval()
    torch.manual_seed(0)
    trunk, features = build.trunk(shape, settings)
    x_BX = torch.rand(2, *shape.dims)
    out_BF = trunk.eval()(x_BX)
    assert out_BF.shape == (2, features)
    assert torch.equal(encoder[-1](out_BF), encoder(x_BX))


def test_weights_saved_earlier_still_fit() -> None:
    """The names in a state dict of the nets with default settings."""
    encoder, decoder = both(IMAGE, "conv")
    assert {k.split(".")[0] for k in encoder.state_dict()} == {"0", "1", "3", "4", "6", "7", "10"}
    assert {k.split(".")[0] for k in decoder.state_dict()} == {"0", "2", "3", "5", "6", "8", "9", "11"}
    encoder, decoder = both(IMAGE, "mlp")
    assert {k.split(".")[0] for k in encoder.state_dict()} == {"1", "3", "5"}
    assert {k.split(".")[0] for k in decoder.state_dict()} == {"0", "2", "4"}


def test_the_builders_defaults_are_the_settings_auto() -> None:
    by_hand = [
        conv.encoder(IMAGE, 3, width=4, depth=0, norm=True),
        conv.decoder(3, IMAGE, width=4, depth=0, norm=True),
        mlp.encoder(64, 3, (6, 4), norm=False),
        mlp.decoder(3, (1, 8, 8), (6, 4), norm=False),
    ]
    assert [str(m) for m in by_hand] == [str(m) for m in both(IMAGE, "conv") + both(IMAGE, "mlp")]


# ---- small layers ------------------------------------------------------------------------------------------------


def test_what_is_padded_is_cropped_again() -> None:
    for height, width in ((3, 3), (4, 5), (1, 2)):
        x_BCHW: Tensor = torch.rand(2, 1, height, width)
        padded = blocks.Pad(6, 5)(x_BCHW)
        assert padded.shape == (2, 1, 6, 5)
        torch.testing.assert_close(padded.sum(), x_BCHW.sum())
        assert torch.equal(blocks.Crop(height, width)(padded), x_BCHW)


def test_resizing_takes_the_nearest_pixel() -> None:
    x_BCHW = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert blocks.Resize(2, 4)(x_BCHW).tolist() == [[[[1, 1, 2, 2], [3, 3, 4, 4]]]]
    assert blocks.Resize(1, 3)(x_BCHW).tolist() == [[[[1, 1, 2]]]]
    assert blocks.Resize(2, 2)(x_BCHW) is x_BCHW
