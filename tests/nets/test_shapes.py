"""Encoders and decoders of any shape; the specification's rows in exact sizes; what cannot be built says why."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from latentscape import models
from latentscape.config import DataShape
from latentscape.errors import ConfigError
from latentscape.models import autoencoder, vae
from latentscape.nets import build, conv
from latentscape.nets.blocks import Crop
from latentscape.nets.build import NetSettings

few = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def round_trip(shape: DataShape, features: int, net: NetSettings) -> tuple[Tensor, Tensor]:
    """A code and a decoded batch of two, in training mode as the loop would run it."""
    encoder, decoder = build.encoder(shape, features, net), build.decoder(features, shape, net)
    z_BL = encoder(torch.rand(2, *shape.dims))
    return z_BL, decoder(z_BL)


@few
@given(
    channels=st.integers(1, 4),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    norm=st.sampled_from(["auto", "batch", "none"]),
    features=st.integers(1, 5),
)
def test_conv_nets_fit_any_image(channels: int, height: int, width: int, norm: str, features: int) -> None:
    shape = DataShape((channels, height, width))
    z_BL, x_BCHW = round_trip(shape, features, NetSettings(width=2, norm=norm))
    assert z_BL.shape == (2, features)
    assert x_BCHW.shape == (2, channels, height, width)


@few
@given(channels=st.integers(1, 3), height=st.integers(1, 40), width=st.integers(1, 40), data=st.data())
def test_conv_nets_fit_any_image_at_any_depth(channels: int, height: int, width: int, data: st.DataObject) -> None:
    shape = DataShape((channels, height, width))
    depth = data.draw(st.integers(1, conv.halvings(height, width)))
    z_BL, x_BCHW = round_trip(shape, 3, NetSettings(width=1, depth=depth))
    assert z_BL.shape == (2, 3)
    assert x_BCHW.shape == (2, channels, height, width)


@pytest.mark.parametrize(("dims", "most"), [((1, 28, 28), 4), ((1, 8, 8), 2), ((3, 9, 12), 3), ((1, 1, 1), 1)])
def test_a_depth_beyond_the_picture_is_refused(dims: tuple[int, ...], most: int) -> None:
    shape = DataShape(dims)
    round_trip(shape, 2, NetSettings(width=1, depth=most))
    deeper = NetSettings(width=1, depth=most + 1)
    for build_one in (lambda: build.encoder(shape, 2, deeper), lambda: build.decoder(2, shape, deeper)):
        with pytest.raises(
            ConfigError, match=rf"^--depth must be at most {most} for pictures of [^\n]+, got {most + 1}$"
        ):
            build_one()


@few
@given(
    dims=st.one_of(st.tuples(st.integers(1, 50)), st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20))),
    hidden=st.lists(st.integers(1, 20), max_size=3).map(tuple),
    norm=st.sampled_from(["auto", "batch", "none"]),
    features=st.integers(1, 5),
)
def test_mlps_fit_vectors_and_images(dims: tuple[int, ...], hidden: tuple[int, ...], norm: str, features: int) -> None:
    z_BL, x_BX = round_trip(DataShape(dims), features, NetSettings(net="mlp", hidden=hidden, norm=norm))
    assert z_BL.shape == (2, features)
    assert x_BX.shape == (2, *dims)


@few
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_every_row_and_column_depends_on_the_code(height: int, width: int) -> None:
    """None is mere padding: two codes give two different values somewhere in each."""
    torch.manual_seed(0)
    decoder = conv.decoder(2, DataShape((1, height, width)), width=2, depth=0, norm=False)
    with torch.no_grad():
        one, other = decoder(torch.tensor([[3.0, -2.0], [-1.0, 4.0]]))[:, 0]
    assert ((one - other).abs().amax(0) > 0).all()
    assert ((one - other).abs().amax(1) > 0).all()


def test_a_crop_takes_the_centre() -> None:
    x_BCHW = torch.arange(25.0).view(1, 1, 5, 5)
    assert Crop(3, 3)(x_BCHW).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert Crop(5, 1)(x_BCHW).flatten().tolist() == [2, 7, 12, 17, 22]


# ---- the specification's rows ----------------------------------------------------------------------------------


def outputs(net: nn.Sequential, x: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Layer kind and output shape of one example, in order."""
    seen = []
    for layer in net:
        x = layer(x)
        seen.append((type(layer).__name__, tuple(x.shape[1:])))
    return seen


def block(kind: str, *shape: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(kind, shape), ("BatchNorm2d", shape), ("LeakyReLU", shape)]


def test_b3_encoder_has_the_specified_layers() -> None:
    model = models.build("autoencoder", DataShape((1, 28, 28)), autoencoder.Config(latent_dim=24))
    assert outputs(model.encoder, torch.rand(2, 1, 28, 28)) == [
        *block("Conv2d", 32, 14, 14),
        *block("Conv2d", 64, 7, 7),
        *block("Conv2d", 128, 4, 4),
        *block("Conv2d", 256, 2, 2),
        *block("Conv2d", 512, 2, 2),
        ("Flatten", (2048,)),
        ("Linear", (24,)),
    ]
    convolutions = [m for m in model.encoder if isinstance(m, nn.Conv2d)]
    assert [(c.kernel_size, c.stride, c.padding) for c in convolutions] == [((3, 3), (2, 2), (1, 1))] * 4 + [
        ((1, 1), (1, 1), (0, 0))
    ]
    assert all(c.bias is not None for c in convolutions)
    assert all(m.negative_slope == 0.01 for m in model.modules() if isinstance(m, nn.LeakyReLU))


def test_b3_decoder_has_the_specified_layers() -> None:
    model = models.build("autoencoder", DataShape((1, 28, 28)), autoencoder.Config(latent_dim=2))
    layers = [entry for entry in outputs(model.decoder, torch.rand(2, 2)) if entry[0] != "Crop"]
    assert layers == [
        ("Linear", (512,)),
        ("Unflatten", (512, 1, 1)),
        *block("DoublingConv2d", 256, 2, 2),
        *block("DoublingConv2d", 128, 4, 4),
        *block("DoublingConv2d", 64, 8, 8),
        *block("DoublingConv2d", 32, 16, 16),
        *block("DoublingConv2d", 32, 32, 32),
        ("NarrowConv2d", (1, 28, 28)),
    ]
    doubling = [m for m in model.decoder if isinstance(m, nn.ConvTranspose2d)]
    assert {(c.kernel_size, c.stride, c.padding, c.output_padding) for c in doubling} == {
        ((3, 3), (2, 2), (1, 1), (1, 1))
    }
    last = model.decoder[-2]
    assert (last.kernel_size, last.stride, last.padding) == ((7, 7), (1, 1), (1, 1))


def test_b2_is_two_hidden_layers_and_their_mirror() -> None:
    model = models.build("autoencoder", DataShape((1, 28, 28)), autoencoder.Config(net="mlp", latent_dim=2))
    kinds = ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert [type(m).__name__ for m in model.encoder] == kinds
    assert [type(m).__name__ for m in model.decoder] == [*kinds[1:], "Unflatten"]
    assert linear_sizes(model.encoder) == [(784, 256), (256, 128), (128, 2)]
    assert linear_sizes(model.decoder) == [(2, 128), (128, 256), (256, 784)]


def linear_sizes(net: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def test_b12_is_three_hidden_layers_each_linear_relu_batchnorm() -> None:
    model = models.build("vae", DataShape((1, 28, 28)), vae.Config(net="mlp", latent_dim=32))
    assert linear_sizes(model.encoder) == [(784, 512), (512, 256), (256, 128), (128, 64)]
    assert linear_sizes(model.decoder) == [(32, 128), (128, 256), (256, 512), (512, 784)]
    hidden = ["Linear", "ReLU", "BatchNorm1d"] * 3
    assert [type(m).__name__ for m in model.encoder] == ["Flatten", *hidden, "Linear"]
    assert [type(m).__name__ for m in model.decoder] == [*hidden, "Linear", "Unflatten"]


def test_vae_conv_encoder_gives_two_numbers_per_latent() -> None:
    model = models.build("vae", DataShape((3, 16, 16)), vae.Config(latent_dim=5, width=4))
    assert model.encoder(torch.rand(2, 3, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    ("side", "times"), [(1, 1), (2, 1), (3, 1), (4, 1), (8, 2), (28, 4), (32, 4), (56, 5), (64, 5)]
)
def test_pictures_are_halved_until_two_pixels_are_left(side: int, times: int) -> None:
    assert conv.halvings(side, side) == times
    assert conv.halvings(1, side) == times


# ---- choice and refusal ----------------------------------------------------------------------------------------


def test_auto_is_conv_for_images_and_mlp_for_vectors() -> None:
    image, vector = DataShape((1, 8, 8)), DataShape((5,))
    assert build.kind(image, NetSettings()) == "conv"
    assert build.kind(vector, NetSettings()) == "mlp"
    assert build.kind(image, NetSettings(net="mlp")) == "mlp"
    assert build.has_norm(image, NetSettings())
    assert not build.has_norm(vector, NetSettings())
    assert not build.has_norm(image, NetSettings(norm="none"))
    assert build.has_norm(vector, NetSettings(norm="batch"))


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_the_norm_setting_decides_whether_there_is_batchnorm(net: str, norm: str) -> None:
    shape, choice = DataShape((1, 8, 8)), NetSettings(net=net, norm=norm, width=2, hidden=(4,))
    for made in (build.encoder(shape, 2, choice), build.decoder(2, shape, choice)):
        found = any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in made.modules())
        assert found == (norm == "batch")


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"hidden": (16, 0)}, "--hidden must be at least 1, got 0"),
        ({"width": 0}, "--width must be at least 1, got 0"),
        ({"depth": -1}, "--depth must be"),
        ({"depth": 13}, "--depth must be"),
        ({"net": "resnext"}, "--net must be one of"),
        ({"norm": "layer"}, "--norm must be one of"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(settings_: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        NetSettings(**settings_)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_convolutions_over_vectors_are_refused_when_built(name: str) -> None:
    config = models.model_class(name).Config(net="conv")
    with pytest.raises(ConfigError, match="--net conv needs images, and the data is a vector of 5; use --net mlp"):
        models.build(name, DataShape((5,)), config)


@pytest.mark.parametrize(("name", "choice"), [("autoencoder", {"loss": "bce"}), ("vae", {"likelihood": "bernoulli"})])
def test_bernoulli_losses_over_vectors_are_refused_when_built(name: str, choice: dict) -> None:
    with pytest.raises(ConfigError, match="needs images"):
        models.build(name, DataShape((5,)), models.model_class(name).Config(**choice))


def test_more_components_than_values_are_refused_when_built() -> None:
    config = models.model_class("pca").Config(latent_dim=65)
    with pytest.raises(ConfigError, match="--latent-dim must be at most 64"):
        models.build("pca", DataShape((1, 8, 8)), config)


@few
@given(
    channels=st.integers(1, 3),
    height=st.integers(2, 30),
    width=st.integers(2, 30),
    depth=st.integers(0, 2),
    per_place=st.integers(1, 3),
)
def test_grid_nets_lay_the_code_on_places(channels: int, height: int, width: int, depth: int, per_place: int) -> None:
    if depth != 1 and max(height, width) == 2:
        return  # two halvings of two pixels are refused
    shape, net = DataShape((channels, height, width)), NetSettings(net="grid", width=2, depth=depth)
    h, w = conv.grid_size(shape, depth or build.GRID_DEPTH)
    assert build.grid(shape, per_place * h * w, net) == (per_place, h, w)
    z_BL, x_BCHW = round_trip(shape, per_place * h * w, net)
    assert z_BL.shape == (2, per_place * h * w)
    assert x_BCHW.shape == (2, channels, height, width)


def test_grid_codes_must_divide_among_their_places() -> None:
    shape, net = DataShape((1, 28, 28)), NetSettings(net="grid")
    assert build.grid(shape, 784, net) == (16, 7, 7)
    with pytest.raises(ConfigError, match="must be a multiple of 49, got 100"):
        build.encoder(shape, 100, net)
    with pytest.raises(ConfigError, match="gives a grid of features and no vector"):
        build.trunk(shape, net)
    with pytest.raises(ConfigError, match="needs images"):
        build.encoder(DataShape((5,)), 4, net)


def test_a_grid_code_keeps_its_place() -> None:
    """What changes in one corner of the picture changes the code there and not in the opposite corner."""
    torch.manual_seed(0)
    shape, net = DataShape((1, 64, 64)), NetSettings(net="grid", width=8, norm="none")
    encoder = build.encoder(shape, 2 * 256, net)
    x = torch.rand(1, 1, 64, 64)
    other = x.clone()
    other[..., :4, :4] = 1 - other[..., :4, :4]
    moved = (encoder(x) - encoder(other)).view(2, 16, 16).abs().amax(0)
    assert moved[0, 0] > 0
    assert (moved[10:, 10:] == 0).all()
