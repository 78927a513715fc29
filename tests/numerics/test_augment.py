from __future__ import annotations

import pytest
import torch

from latentscape.numerics import augment

RNG = torch.Generator().manual_seed(0)
SHAPES = [(1, 8, 8), (3, 9, 12), (2, 1, 1)]


def made(policy, x, seed=0, **range_):
    return augment.apply(x, policy, augment.draws(policy, len(x), torch.Generator().manual_seed(seed)), **range_)


def test_draws_are_one_uniform_number_per_picture_and_change():
    drawn = augment.draws(augment.POLICIES, 4000, RNG, "augment_real")
    assert list(drawn) == [
        f"augment_real.{name}"
        for name in (
            "color.brightness",
            "color.saturation",
            "color.contrast",
            "translation.down",
            "translation.right",
            "cutout.y",
            "cutout.x",
        )
    ]
    for u in drawn.values():
        assert u.shape == (4000,)
        assert u.min() >= 0
        assert u.max() < 1
        assert float(u.mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.stack(list(drawn.values())).corrcoef().triu(1).abs().max() < 0.06  # no two are the same
    assert augment.draws((), 4, RNG) == {}


@pytest.mark.parametrize("policy", [("colour",), ("color", "color")])
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError, match="any of color, translation, cutout"):
        augment.draws(policy, 4, RNG)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("policy", [*((p,) for p in augment.POLICIES), augment.POLICIES], ids="+".join)
def test_both_value_ranges_show_the_same_picture(shape, policy):
    unit = torch.rand(50, *shape, generator=RNG)
    signed = made(policy, 2 * unit - 1)
    assert signed.shape == unit.shape
    torch.testing.assert_close(2 * made(policy, unit, low=0.0, high=1.0) - 1, signed)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_first_and_second_order_are_those_of_finite_differences(shape):
    """A gradient penalty takes the second."""
    x = torch.rand(3, *shape, generator=RNG, dtype=torch.float64, requires_grad=True)
    drawn = augment.draws(augment.POLICIES, 3, RNG)

    def curved(x):
        return augment.apply(x, augment.POLICIES, drawn).pow(3)

    assert torch.autograd.gradcheck(curved, x)
    assert torch.autograd.gradgradcheck(curved, x)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_memory_format_stays(channels):
    plain = torch.rand(5, channels, 9, 12, generator=RNG)
    last = plain.contiguous(memory_format=torch.channels_last)
    out = made(augment.POLICIES, last)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, made(augment.POLICIES, plain))
    assert made(augment.POLICIES, plain).is_contiguous()


def test_low_precision_stays_so():
    assert made(augment.POLICIES, torch.rand(5, 3, 9, 12).bfloat16()).dtype == torch.bfloat16


def test_each_colour_number_changes_what_it_names():
    x = torch.rand(1, 3, 6, 6, generator=RNG) * 2 - 1
    same, low, high = torch.full((1,), 0.5), torch.zeros(1), torch.ones(1)
    torch.testing.assert_close(augment.color(x, same, same, same, span=2), x)
    torch.testing.assert_close(augment.color(x, high, same, same, span=2), x + 0.5)
    torch.testing.assert_close(augment.color(x, low, same, same, span=1), x - 0.25)
    grey = augment.color(x, same, low, same, span=2)
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    vivid = augment.color(x, same, high, same, span=2)
    torch.testing.assert_close(vivid - grey, 2 * (x - grey))
    torch.testing.assert_close(augment.color(x, same, same, low, span=2), (x + x.mean()) / 2)
    torch.testing.assert_close(augment.color(x, same, same, high, span=2) - x.mean(), 1.5 * (x - x.mean()))


def test_grey_pictures_have_no_saturation():
    x, u = torch.rand(9, 1, 6, 6, generator=RNG), torch.rand(2, 9, generator=RNG)
    one, two = (augment.color(x, u[0], s, u[1], span=2) for s in (torch.zeros(9), torch.ones(9)))
    assert torch.equal(one, two)
    rgb = augment.color(x.expand(-1, 3, -1, -1), u[0], torch.rand(9), u[1], span=2)
    torch.testing.assert_close(rgb[:, :1], one)


def test_translation_moves_by_every_whole_number_up_to_an_eighth_and_fills():
    x = torch.arange(1.0, 16 * 24 + 1).view(1, 1, 16, 24)
    for steps, axis, side in ((range(-2, 3), 2, 16), (range(-3, 4), 3, 24)):
        u = (torch.arange(len(steps)) + 0.5) / len(steps)
        middle = torch.full_like(u, 0.5)
        down, right = (u, middle) if axis == 2 else (middle, u)
        moved = augment.translation(x.expand(len(u), -1, -1, -1), down, right, fill=-7)
        for out, shift in zip(moved, steps, strict=True):
            expected = x[0].roll(shift, axis - 1)
            coming_in = range(shift) if shift > 0 else range(side + shift, side)
            expected.index_fill_(axis - 1, torch.tensor(list(coming_in), dtype=torch.long), -7)
            assert torch.equal(out, expected)


def test_cutout_is_a_square_of_half_the_side_that_may_stand_partly_outside():
    u = torch.rand(4000, 2, generator=RNG)
    for side in (8, 9):
        cut = augment.cutout(torch.ones(4000, 2, side, side), u[:, 0], u[:, 1], fill=0) == 0
        assert torch.equal(cut[:, 0], cut[:, 1])
        rows, columns = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
        assert torch.equal(cut[:, 0].sum((1, 2)), rows * columns)  # a rectangle
        length = {8: 4, 9: 5}[side]
        assert rows.max() == length
        assert rows.min() == (length + 1) // 2  # centred on the outermost pixel
        middle_share = cut[:, 0, 4, 4].float().mean()
        assert float(middle_share) == pytest.approx((length / (side + 1 - length % 2)) ** 2, abs=0.03)


def test_numbers_at_the_end_of_the_interval_stay_in_range():
    last = torch.full((1,), 1 - 2**-24)
    x = torch.arange(1.0, 82).view(1, 1, 9, 9)
    assert torch.equal(augment.translation(x, last, last, fill=0)[0, 0, 1:, 1:], x[0, 0, :-1, :-1])
    assert (augment.cutout(x, last, last, fill=0) == 0).sum() == 9
