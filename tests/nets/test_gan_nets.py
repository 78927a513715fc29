"""The nets of rows B16, B17 and B19, layer by layer, and their pattern at other sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from latentscape.config import DataShape
from latentscape.errors import AbilityError, ConfigError
from latentscape.nets import dcgan, gan

MNIST = DataShape((1, 28, 28))


def layers(net: nn.Module, *kinds: type) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, kinds)]


def sizes(net: nn.Module, x: Tensor, *kinds: type) -> list[int]:
    """Heights behind each layer of these kinds."""
    seen: list[int] = []
    for m in layers(net, *kinds):
        m.register_forward_hook(lambda m, i, out: seen.append(out.shape[2]))
    net(x)
    return seen


def test_row_b16_generator() -> None:
    made = gan.Generator(100, MNIST, gan.GanNets(), classes=0, norm=True)
    convs = layers(made, nn.ConvTranspose2d)
    assert [(m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0]) for m in convs] == [
        (512, 5, 1, 0),
        (256, 5, 1, 0),
        (128, 5, 2, 0),
        (64, 5, 1, 0),
        (1, 4, 1, 0),
    ]
    assert sizes(made, torch.randn(2, 100), nn.ConvTranspose2d) == [5, 9, 21, 25, 28]
    assert len(layers(made, nn.BatchNorm2d)) == len(layers(made, nn.ReLU)) == 4
    assert all(m.bias is None for m in convs[:-1])


def test_row_b16_discriminator() -> None:
    made = gan.Discriminator(MNIST, gan.GanNets(), classes=0, norm=True)
    convs = layers(made, nn.Conv2d)
    assert [(m.out_channels, m.kernel_size, m.stride, m.padding, m.bias) for m in convs] == [
        (n, (4, 4), (2, 2), (1, 1), None) for n in (64, 128, 256)
    ]
    assert sizes(made, torch.rand(2, 1, 28, 28), nn.Conv2d) == [14, 7, 3]
    assert len(layers(made, nn.BatchNorm2d)) == 2
    assert made.head.in_features == 256


def test_row_b16_weights() -> None:
    torch.manual_seed(0)
    made = gan.Generator(100, MNIST, gan.GanNets(), classes=0, norm=True)
    weights = torch.cat([m.weight.detach().flatten() for m in layers(made, nn.ConvTranspose2d)])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    scales = torch.cat([m.weight.detach() for m in layers(made, nn.BatchNorm2d)])
    assert float(scales.mean()) == pytest.approx(1, abs=0.01)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.2)


def test_row_b17_generator_has_the_numbers_of_its_files() -> None:
    net = gan.Generator(100, MNIST, gan.GanNets(net="upsampling"), classes=0, norm=True).net
    numbers = {k: tuple(v.shape) for k, v in net.state_dict().items() if v.dim()}
    assert {k.split(".")[0] for k in numbers} == {"0", "1", "4", "5", "8", "9", "12", "13", "16"}
    assert numbers["0.weight"] == (8192, 100)
    assert [numbers[f"{i}.weight"][:2] for i in (4, 8, 12, 16)] == [(256, 512), (128, 256), (64, 128), (1, 64)]
    assert [k for k in numbers if k.endswith("bias")] == ["1.bias", "5.bias", "9.bias", "13.bias", "16.bias"]
    assert sizes(net, torch.randn(2, 100), nn.Conv2d) == [4, 7, 14, 28]


def test_row_b17_discriminator_has_the_numbers_of_its_files() -> None:
    made = gan.Discriminator(MNIST, gan.GanNets(net="upsampling"), classes=0, norm=True)
    kinds = [type(m) for m in made.body]
    conv, act, norm = nn.Conv2d, nn.LeakyReLU, nn.BatchNorm2d
    assert kinds == [conv, act, conv, act, norm, conv, norm, act, nn.Flatten]
    assert made.head.in_features == 4096


def test_row_b19_players() -> None:
    settings = gan.GanNets(net="mlp", hidden=(64, 128), generator_hidden=(64, 256, 512))
    made = gan.Generator(100, MNIST, settings, classes=0, norm=True)
    assert [m.out_features for m in layers(made, nn.Linear)] == [64, 256, 512, 784]
    assert [type(m).__name__ for m in made.net[:3]] == ["Linear", "LeakyReLU", "BatchNorm1d"]
    critic = gan.Discriminator(MNIST, settings, classes=0, norm=False)
    assert [m.out_features for m in layers(critic, nn.Linear)] == [64, 128, 1]
    assert len(layers(critic, nn.ReLU)) == 2


@pytest.mark.parametrize("net", ["dcgan", "upsampling", "conv", "mlp"])
@pytest.mark.parametrize("dims", [(1, 1, 1), (3, 2, 17), (1, 8, 8), (3, 32, 32), (2, 45, 30), (3, 64, 64), (1, 130, 7)])
@pytest.mark.parametrize("norm", [False, True])
def test_any_size(net: str, dims: tuple[int, int, int], norm: bool) -> None:
    shape, settings = DataShape(dims), gan.GanNets(net=net, width=2, hidden=(4,))
    with torch.no_grad():
        x = gan.Generator(5, shape, settings, classes=0, norm=norm)(torch.randn(3, 5))
        assert x.shape == (3, *dims)
        assert gan.Discriminator(shape, settings, classes=0, norm=norm)(x).shape == (3,)


def test_pictures_on_one_pixel_are_grown_as_the_convolution_grows_them() -> None:
    own = dcgan.FirstConvTranspose2d(6, 4, (3, 5), bias=True)
    plain = nn.ConvTranspose2d(6, 4, (3, 5))
    plain.load_state_dict(own.state_dict())
    x = torch.randn(2, 6, 1, 1)
    torch.testing.assert_close(own(x), plain(x))


def test_without_norm_signals_keep_their_size() -> None:
    torch.manual_seed(0)
    for net in ("dcgan", "upsampling"):
        made = gan.Generator(64, DataShape((3, 64, 64)), gan.GanNets(net=net, width=16), classes=0, norm=False)
        out = made(torch.randn(16, 64)).detach()
        assert 0.2 < float(out.std()) / dcgan.SMALL < 5


def test_labels_enter_by_projection() -> None:
    """D(x, a) − D(x, b) is the embeddings' difference times the features."""
    settings = gan.GanNets(width=4)
    made = gan.Discriminator(DataShape((1, 8, 8)), settings, classes=3, norm=False).eval()
    x = torch.rand(5, 1, 8, 8)
    a, b = torch.zeros(5, dtype=torch.int64), torch.full((5,), 2)
    assert made.label is not None
    expected = made.body(x) @ (made.label.weight[0] - made.label.weight[2])
    torch.testing.assert_close(made(x, a) - made(x, b), expected)


def test_a_missing_label_is_named() -> None:
    made = gan.Generator(5, MNIST, gan.GanNets(width=2), classes=3, norm=False)
    with pytest.raises(AbilityError, match="needs a label"):
        made(torch.randn(2, 5))


def test_convolutions_over_vectors_are_refused() -> None:
    with pytest.raises(ConfigError, match="--net mlp"):
        gan.kind(DataShape((5,)), gan.GanNets(net="dcgan"))
