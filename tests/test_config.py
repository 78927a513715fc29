"""A constraint declared once: it validates, words the error, documents the range; and shapes."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
import typing
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import tomli_w

import settings_values
from latentscape import models
from latentscape.config import DataShape, Settings, flag, range_words, setting
from latentscape.data.settings import DataSettings
from latentscape.errors import ConfigError
from latentscape.tasks import overrides
from latentscape.training.settings import TrainSettings

GROUPS = {"train": TrainSettings, "data": DataSettings} | {
    name: models.model_class(name).Config for name in models.modules()
}
FIELDS = [(group, f.name) for group, settings in GROUPS.items() for f in dataclasses.fields(settings)]
BOUNDED = [(g, name) for g, name in FIELDS if GROUPS[g].__dataclass_fields__[name].metadata.get("bounds")]


def field(group: str, name: str) -> tuple[dataclasses.Field, Any]:
    return GROUPS[group].__dataclass_fields__[name], settings_values.hints(GROUPS[group])[name]


def refused(settings: type, **values: Any) -> str:
    """What the one-line refusal says."""
    with pytest.raises(ConfigError) as error:
        settings(**values)
    said = str(error.value)
    assert said.strip()
    assert "\n" not in said
    return said


def outside_values() -> list[Any]:
    return [
        pytest.param(group, name, value, id=f"{group}-{name}-{value}")
        for group, name in BOUNDED
        for value in settings_values.just_outside(*field(group, name))
    ]


@pytest.mark.parametrize(("group", "name", "value"), outside_values())
def test_every_declared_bound_refuses_the_nearest_value_outside(group: str, name: str, value: Any) -> None:
    said = refused(GROUPS[group], **{name: value})
    assert said.startswith(flag(name) + " must be ")
    assert range_words(field(group, name)[0]) in said


@pytest.mark.parametrize(("group", "name"), BOUNDED)
def test_every_declared_bound_allows_the_outermost_value_inside(group: str, name: str) -> None:
    f, hint = field(group, name)
    for value in settings_values.inside(f, hint):
        others = {"max_steps": 1} if name == "epochs" else {}
        assert getattr(GROUPS[group](**{name: value}, **others), name) == value


@pytest.mark.parametrize(("group", "name"), FIELDS)
def test_every_setting_says_what_it_is_and_refuses_what_it_is_not(group: str, name: str) -> None:
    f, hint = field(group, name)
    assert f.metadata["help"].strip()
    assert "\n" not in f.metadata["help"]
    assert flag(name) in refused(GROUPS[group], **{name: object()})
    if settings_values.base(hint) is float:
        for endless in (math.nan, math.inf, -math.inf):
            value = (endless,) if typing.get_origin(hint) is tuple else endless
            said = refused(GROUPS[group], **{name: value})
            assert re.fullmatch(rf"{flag(name)} must be (.* and )?finite, got (nan|-?inf)", said)


def test_no_two_groups_of_settings_share_a_name() -> None:
    """The command line is flat: a name that two groups have would be set in one of them only."""
    for name in models.modules():
        for other in (TrainSettings, DataSettings):
            assert not overrides.names(GROUPS[name]) & overrides.names(other)
    assert not overrides.names(TrainSettings) & overrides.names(DataSettings)
    own = {"data", "out", "init_from", "bare", "json"}  # flags of the command itself
    assert not own & {name for _, name in FIELDS}


@pytest.mark.parametrize("group", ["train", "data"])
def test_settings_survive_a_trip_through_toml(group: str) -> None:
    settings = GROUPS[group]
    changes = settings_values.another(settings)
    if group == "data":
        changes |= {"size": "48x64", "labels": "labels.csv", "valid_fraction": 0.25, "test_fraction": 0.125}
    for made in (settings(), settings(**changes)):
        assert settings.from_dict(tomllib.loads(tomli_w.dumps(made.to_dict()))) == made
    assert settings(**changes) != settings()


def test_zero_epochs_need_a_number_of_steps() -> None:
    assert TrainSettings(epochs=0, max_steps=5).max_steps == 5
    assert "--max-steps" in refused(TrainSettings, epochs=0)


# ---- the machinery ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Toy(Settings):
    share: float = setting(0.5, "a share", above=0, at_most=1)
    sizes: tuple[int, ...] = setting((4, 2), "sizes", at_least=1)
    kind: Literal["a", "b"] = setting("a", "a kind")
    limit: int | None = setting(None, "a limit", at_least=1)
    fast: bool = setting(False, "a switch")
    name: str = setting("", "a name")


def test_errors_say_which_setting_must_be_what_and_what_it_got() -> None:
    assert refused(Toy, share=0.0) == "--share must be above 0 and at most 1, got 0.0"
    assert refused(Toy, sizes=(3, 0)) == "--sizes must be at least 1, got 0"
    assert refused(Toy, kind="c") == "--kind must be one of a, b; got 'c'"
    assert refused(Toy, share=math.inf) == "--share must be above 0 and at most 1 and finite, got inf"
    assert refused(Toy, limit=0) == "--limit must be at least 1, got 0"
    assert refused(Toy, fast=1) == "--fast must be true or false, got 1"
    assert refused(Toy, name=3) == "--name must be text, got 3"
    assert refused(Toy, share="half") == "--share must be a number, got 'half'"
    assert refused(Toy, share=True) == "--share must be a number, got True"
    assert "--limit" in refused(Toy, limit=2.5)
    assert "--sizes" in refused(Toy, sizes=(2.5,))
    assert "--sizes" in refused(Toy, sizes=3)


def test_whole_numbers_are_numbers_and_unset_is_unset() -> None:
    assert Toy(share=1).share == 1
    assert Toy().limit is None
    assert Toy(limit=3).replace(limit=None) == Toy()


def test_from_dict_takes_lists_for_tuples_and_refuses_unknown_names() -> None:
    assert Toy.from_dict({"sizes": [3]}) == Toy(sizes=(3,))
    assert Toy(sizes=(3,)).to_dict() == {
        "share": 0.5, "sizes": [3], "kind": "a", "limit": None, "fast": False, "name": "",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="there is no setting 'shares' here; did you mean share"):
        Toy.from_dict({"shares": 1})
    with pytest.raises(ConfigError, match="known: fast, kind, limit, name, share, sizes"):
        Toy.from_dict({"zzz": 1})


def test_no_sizes_at_all_are_sizes() -> None:
    """An MLP without hidden layers is linear."""
    assert Toy.from_dict(tomllib.loads("sizes = []")) == Toy(sizes=())
    assert Toy.from_dict(tomllib.loads(tomli_w.dumps(Toy(sizes=(), limit=1).to_dict()))) == Toy(sizes=(), limit=1)


def test_replace_validates_again() -> None:
    with pytest.raises(ConfigError, match="--share"):
        Toy().replace(share=2.0)


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Toy().share = 1.0


def test_ranges_in_words() -> None:
    assert range_words(Toy.__dataclass_fields__["share"]) == "above 0 and at most 1"
    assert range_words(Toy.__dataclass_fields__["name"]) == ""
    assert flag("latent_dim") == "--latent-dim"


# ---- shapes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dims", "words"),
    [
        ("1x28x28", (1, 28, 28), "1×28×28"),
        ("3×64×48", (3, 64, 48), "3×64×48"),
        ("28x30", (1, 28, 30), "1×28×30"),
        (" 2 ", (2,), "vector of 2"),
    ],
)
def test_shapes_are_read_and_written(text: str, dims: tuple[int, ...], words: str) -> None:
    shape = DataShape.parse(text)
    assert shape.dims == dims
    assert str(shape) == words
    assert shape.is_image == (len(dims) == 3)
    assert DataShape((3, 4, 5)).size == 60


@pytest.mark.parametrize("text", ["", "x", "3x", "1x2x3x4", "3,4,5", "-3", "3.5", "0", "0x4", "1x0x4", "a"])
def test_bad_shapes_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        DataShape.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dims", [(), (2, 3), (1, 2, 3, 4), (0,), (1, -1, 3)])
def test_impossible_dimensions_are_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="a shape is"):
        DataShape(dims)


# ---- discovery -------------------------------------------------------------------------------------------------


def test_unknown_models_are_refused_with_the_near_ones() -> None:
    with pytest.raises(ConfigError, match="there is no model 'autoencodr'; did you mean autoencoder"):
        models.model_class("autoencodr")
    with pytest.raises(ConfigError, match=r"there are .*\bautoencoder, .*pca, .*vae"):
        models.model_class("zzzz")


def test_discovery_finds_the_files_of_the_room() -> None:
    assert {"autoencoder", "pca", "vae"} <= set(models.modules())
    assert not any(name.startswith("_") for name in models.modules())


def test_flat_settings_are_sorted_into_their_groups() -> None:
    sorted_ = overrides.sort("vae", {"latent_dim": 2, "epochs": 3, "size": "8", "beta": 1.0})
    assert sorted_ == overrides.Overrides(train={"epochs": 3}, model={"latent_dim": 2, "beta": 1.0}, data={"size": "8"})
    with pytest.raises(ConfigError, match="vae has no setting 'latent_dims'; did you mean latent_dim"):
        overrides.sort("vae", {"latent_dims": 2})
    with pytest.raises(ConfigError, match="pca has no setting 'beta'"):
        overrides.sort("pca", {"beta": 2})


def test_what_is_given_wins_over_the_model_s_defaults_and_those_over_the_package_s() -> None:
    shape, config = DataShape((1, 8, 8)), models.model_class("vae").Config()
    assert overrides.train_settings("vae", shape, config, {}).learning_rate == 1e-4
    assert overrides.train_settings("vae", shape, config, {"learning_rate": 0.5}).learning_rate == 0.5
    assert overrides.train_settings("vae", shape, config, {}).beta2 == 0.999
    steps = overrides.train_settings("vae", shape, config, {"max_steps": 7})
    assert (steps.max_steps, steps.epochs) == (7, 0)
    both = overrides.train_settings("vae", shape, config, {"max_steps": 7, "epochs": 3})
    assert (both.max_steps, both.epochs) == (7, 3)


@pytest.mark.parametrize(
    ("examples", "batch", "rate"),
    [
        (0, 64, 1e-3),
        (1_500, 64, 1e-3),
        (12_799, 64, 1e-3),
        (12_800, 128, 1.26e-3),
        (60_000, 512, 2e-3),
        (10**7, 512, 2e-3),
    ],
)
def test_a_larger_batch_is_taken_where_the_set_leaves_enough_steps(examples: int, batch: int, rate: float) -> None:
    shape, config = DataShape((1, 28, 28)), models.model_class("vae").Config(net="mlp")
    taken = overrides.train_settings("vae", shape, config, {}, examples)
    assert (taken.batch_size, taken.learning_rate) == (batch, pytest.approx(rate, rel=1e-3))
    assert overrides.train_settings("vae", shape, config, {"batch_size": 32}, examples).learning_rate == 1e-3
    assert overrides.train_settings("vae", shape, config, {"learning_rate": 1e-3}, examples).batch_size == 64
    conv = models.model_class("vae").Config()
    assert overrides.train_settings("vae", shape, conv, {}, examples).batch_size == 64


def test_scaling_multiplies_what_counts_steps_and_nothing_else() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Counted(Settings):
        warmup: int = setting(40, "…", at_least=0, in_steps=True)
        never: int = setting(0, "…", at_least=0, in_steps=True)
        size: int = setting(40, "…", at_least=1)

    assert Counted().scaled(0.1) == Counted(warmup=4, never=0, size=40)
    assert Counted().scaled(0.001).warmup == 1
    assert Counted().scaled(2).warmup == 80
