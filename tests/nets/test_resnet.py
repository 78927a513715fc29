"""The ResNet-18 encoder, its mirror, and spec row B13."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latentscape.config import DataShape
from latentscape.errors import ConfigError
from latentscape.nets import build, resnet
from latentscape.nets.blocks import PointConv2d
from latentscape.nets.build import NetSettings

SHAPES = [(1, 1, 1), (1, 8, 8), (3, 9, 12), (1, 28, 28), (3, 37, 50), (3, 56, 56)]
STEMS = [{}, {"first_conv": True}, {"maxpool1": True}, {"first_conv": True, "maxpool1": True}]


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("dims", SHAPES)
def test_any_image_becomes_a_code_and_an_image_of_its_size(dims: tuple[int, ...], stem: dict[str, bool]) -> None:
    torch.manual_seed(0)
    shape, choice = DataShape(dims), NetSettings(net="resnet", width=4, **stem)
    encoder, decoder = build.encoder(shape, 5, choice), build.decoder(5, shape, choice)
    x_BCHW = torch.rand(3, *dims)
    z_BL = encoder(x_BCHW)
    assert z_BL.shape == (3, 5)
    out_BCHW = decoder(z_BL)
    assert out_BCHW.shape == x_BCHW.shape
    (out_BCHW - x_BCHW).square().sum().backward()
    for name, p in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.any(), name


@pytest.mark.parametrize("stem", STEMS)
def test_the_decoder_passes_through_the_sizes_of_the_encoder(stem: dict[str, bool]) -> None:
    """In reverse, whether they halve evenly or not."""
    shape, options = DataShape((3, 37, 50)), {"width": 2, "norm": True, **stem}
    trunk, decoder = resnet.trunk(3, **options), resnet.decoder(4, shape, **options)
    halving: list[tuple[int, ...]] = [(37, 50)]
    x = torch.rand(2, *shape.dims)
    for layer in trunk[:-1]:
        x = layer(x)
        halving += [tuple(x.shape[2:])] if x.shape[2:] != halving[-1] else []
    assert halving == resnet.sizes(shape, **stem)
    doubling: list[tuple[int, ...]] = []
    x = decoder[1](decoder[0](torch.rand(2, 4)))
    for layer in decoder[2:]:
        x = layer(x)
        doubling += [tuple(x.shape[2:])] if not doubling or x.shape[2:] != doubling[-1] else []
    assert doubling == halving[::-1]


def test_trunk_has_the_known_number_of_parameters() -> None:
    """torchvision's resnet18 has 11,689,512 with 512·1000 + 1000 in its classifier; a 3×3 stem saves 64·3·(49 − 9)."""
    classic = resnet.trunk(3, width=64, norm=True, first_conv=True, maxpool1=True)
    assert count(classic) == 11_689_512 - 513_000 == 11_176_512
    assert count(resnet.trunk(3, width=64, norm=True)) == 11_176_512 - 64 * 3 * 40 == 11_168_832


def test_trunk_has_eighteen_layers_in_the_specified_sizes() -> None:
    body, features = build.trunk(DataShape((3, 56, 56)), NetSettings(net="resnet"))
    assert features == 512
    on_path = [
        m for name, m in body.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in name
    ]  # and the classifier, the eighteenth
    assert [m.out_channels for m in on_path] == [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    assert [m.stride[0] for m in on_path] == [1] * 5 + [2, 1, 1, 1] * 3
    assert {m.kernel_size for m in on_path} == {(3, 3)}
    with torch.no_grad():
        features_BF = body(torch.randn(2, 3, 56, 56))
    assert features_BF.shape == (2, 512)
    assert (features_BF >= 0).all()
    assert (features_BF > 0).any()


def test_b13_decoder_has_the_specified_layers() -> None:
    decoder = build.decoder(512, DataShape((3, 56, 56)), NetSettings(net="resnet"))
    seen, x = [], torch.randn(2, 512)
    with torch.no_grad():
        for layer in decoder:
            x = layer(x)
            seen.append((type(layer).__name__, tuple(x.shape[1:])))
    assert seen == [
        ("Linear", (8192,)),
        ("Unflatten", (512, 4, 4)),
        ("Resize", (512, 7, 7)),
        ("MirroredBlock", (256, 14, 14)),
        ("MirroredBlock", (256, 14, 14)),
        ("MirroredBlock", (128, 28, 28)),
        ("MirroredBlock", (128, 28, 28)),
        ("MirroredBlock", (64, 56, 56)),
        ("MirroredBlock", (64, 56, 56)),
        ("MirroredBlock", (64, 56, 56)),
        ("MirroredBlock", (64, 56, 56)),
        ("Resize", (64, 56, 56)),
        ("NarrowConv2d", (3, 56, 56)),
    ]
    assert decoder[-1].kernel_size == (3, 3)
    # By hand: each first block of a stage mixes at its incoming width, then changes it, beside a 1×1 shortcut.
    stages = [(512, 256), (256, 128), (128, 64), (64, 64)]
    expected = 512 * 8192 + 8192 + 64 * 9 * 3 + 3
    for a, b in stages:
        expected += 9 * a * a + 2 * a + 9 * a * b + 2 * b + (a * b + 2 * b if a != b else 0) + 2 * (9 * b * b + 2 * b)
    assert count(decoder) == expected


def test_the_shortcut_may_convolve_before_it_enlarges() -> None:
    """As the documented order, resize then convolve, gives."""
    torch.manual_seed(0)
    block = resnet.MirroredBlock(4, 2, (6, 10), norm=True, activation=nn.ReLU).double()
    x = torch.randn(3, 4, 3, 5, dtype=torch.double)
    convolution, resize, norm = block.shortcut
    torch.testing.assert_close(block.shortcut(x), norm(convolution(resize(x))))


def test_blocks_are_residual() -> None:
    """With the last weights of the branch at zero, what is left is the activation of the shortcut."""
    block = resnet.Block(4, 4, 1, norm=False, activation=nn.ReLU)
    mirrored = resnet.MirroredBlock(4, 4, None, norm=False, activation=nn.ReLU)
    x = torch.randn(2, 4, 5, 5)
    for b in (block, mirrored):
        for p in b.branch[-1].parameters():
            nn.init.zeros_(p)
        assert torch.equal(b(x), x.relu())
        assert len(b.shortcut) == 0


def test_activations_in_place_give_the_same_values() -> None:
    torch.manual_seed(0)
    nets = [
        resnet.encoder(DataShape((3, 9, 12)), 2, width=3, norm=norm, activation=act)
        for norm in (False, True)
        for act in (nn.ReLU, resnet.RELU)
    ]
    x = torch.randn(4, 3, 9, 12)
    for plain, inplace in (nets[:2], nets[2:]):
        inplace.load_state_dict(plain.state_dict())
        kept = x.clone()
        torch.testing.assert_close(plain(x), inplace(x))
        assert torch.equal(x, kept)
        grads = [torch.autograd.grad(n(x).square().sum(), list(n.parameters())) for n in (plain, inplace)]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b)


def test_vectors_are_refused() -> None:
    for make in (lambda c: build.encoder(DataShape((5,)), 2, c), lambda c: build.decoder(2, DataShape((5,)), c)):
        with pytest.raises(
            ConfigError, match="--net resnet needs images, and the data is a vector of 5; use --net mlp"
        ):
            make(NetSettings(net="resnet"))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_point_convolution_is_the_plain_one(stride: int) -> None:
    ours, plain = PointConv2d(8, 16, stride), torch.nn.Conv2d(8, 16, 1, stride)
    plain.load_state_dict(ours.state_dict())
    x, twin = (torch.randn(2, 8, 7, 10, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2))
    a, b = ours(x), plain(twin)
    torch.testing.assert_close(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


def test_a_narrow_resnet_trains_in_channels_last() -> None:
    """At these sizes the plain strided convolution ends the process in its backward pass."""
    net = resnet.encoder(DataShape((3, 56, 56)), 8, width=8, norm=True).to(memory_format=torch.channels_last)
    for _ in range(3):
        x = torch.randn(64, 3, 56, 56).to(memory_format=torch.channels_last)
        net(x).square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)
