"""Every picture is drawn, says numbers, split and counts, and refuses in a sentence what it cannot show."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.latents import priors
from latentscape.numerics import sparsity
from latentscape.pictures import plots, sheets
from latentscape.tasks import classify, fitted
from latentscape.tasks.showing import PICTURES, Stage, drawing, noisy, sparse
from latentscape.tasks.showing.registry import Drawing

GetStage = Callable[[str], Stage]

CAN: dict[str, tuple[str, ...]] = {
    "vae": (
        *("reconstructions", "samples", "interpolation", "map", "grid", "jacobian_spectrum", "class_maps", "denoise"),
        *("inpaint", "posterior", "kl_per_dimension", "bounds", "one_image", "coordinate_sweep", "plane_sweep"),
        *("factor_sweep", "latent_scale", "penalties", "prior_map", "range_grid", "fitted_priors"),
    ),
    "pca": ("components", "spectrum", "reconstructions", "denoise", "map", "grid"),
    "conditional-vae": (
        *("reconstructions", "samples", "interpolation", "map", "grid", "class_maps", "class_grids", "class_grid"),
        *("transfer", "posterior_transfer", "denoise", "inpaint", "kl_per_dimension", "bounds", "one_image"),
        *("coordinate_sweep", "plane_sweep", "factor_sweep", "jacobian_spectrum", "style_label"),
    ),
    "conditional-autoencoder": ("samples", "class_grids", "transfer", "interpolation", "grid", "denoise"),
    "sparse": ("activations_by_class", "activation_histograms", "latent_scale", "denoise", "jacobian_spectrum"),
    "concrete": ("selected_pixels", "reconstructions"),
    "vq": ("codes", "reconstructions", "samples"),
    "classifier": ("confusion", "misread"),
    "gan": ("generated", "mixed_noises", "samples", "probe"),
    "critic": ("terms_curve", "probe"),
    "curve": ("points", "latent_curve", "map", "jacobian_spectrum"),
    "curve-by-label": ("points", "latent_curve", "map", "class_maps"),
    "unlabelled": ("reconstructions", "map", "interpolation", "one_image", "coordinate_sweep", "plane_sweep"),
}

CANNOT = (
    ("autoencoder", "confusion", AbilityError, "no classifier"),
    ("autoencoder", "misread", AbilityError, "no classifier"),
    ("vae", "transfer", AbilityError, "reads no labels"),
    ("vae", "class_grids", AbilityError, "reads no labels"),
    ("vae", "class_grid", AbilityError, "reads no labels"),
    ("vae", "posterior_transfer", AbilityError, "reads no labels"),
    ("conditional-autoencoder", "posterior_transfer", AbilityError, "no posterior"),
    ("autoencoder", "activations_by_class", AbilityError, "no activations; sparse-autoencoder has"),
    ("autoencoder", "activation_histograms", AbilityError, "no activations"),
    ("autoencoder", "posterior", AbilityError, "no posterior"),
    ("autoencoder", "kl_per_dimension", AbilityError, "no posterior"),
    ("autoencoder", "bounds", AbilityError, "no posterior"),
    ("autoencoder", "one_image", AbilityError, "no posterior"),
    ("autoencoder", "coordinate_sweep", AbilityError, "no posterior"),
    ("autoencoder", "selected_pixels", AbilityError, "no selected inputs"),
    ("autoencoder", "codes", AbilityError, "no codebook"),
    ("autoencoder", "components", AbilityError, "no principal components"),
    ("autoencoder", "spectrum", AbilityError, "no spectrum"),
    ("autoencoder", "points", AbilityError, "vectors of 2"),
    ("autoencoder", "latent_curve", AbilityError, "vectors of 2"),
    ("curve", "transfer", AbilityError, "not images"),
    ("curve", "denoise", AbilityError, "not images"),
    ("curve", "inpaint", AbilityError, "not images"),
    ("curve", "factor_sweep", AbilityError, "not images"),
    ("unlabelled", "class_maps", DataError, "no labels"),
)


def able(stage: Stage) -> Any:
    """The stage's model, whatever it can do."""
    return stage.model


class Brightness(nn.Module):
    """Reads class 1 off pictures that are brighter than a half in the mean, else class 0."""

    value_range = "unit"

    def classify(self, x_BX: Tensor) -> Tensor:
        bright_B = x_BX.flatten(1).mean(1) - 0.5
        return torch.stack([-bright_B, bright_B], 1)

    def features(self, x_BX: Tensor) -> Tensor:
        return x_BX.flatten(2).mean(2)


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier that reads pictures is trained elsewhere (tests/tasks/test_classify.py)."""
    monkeypatch.setattr(classify, "reader", lambda images: Brightness())
    monkeypatch.setattr(classify, "inputs_for", lambda reader, x, value_range: x)
    monkeypatch.setattr(fitted, "Budget", lambda: priors.Budget(steps=3, components=(2,)))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """What the drawing functions were handed, by their names."""
    calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}
    for room, names in (
        (sheets, ("sheet", "rows", "titled_sheet", "headed_sheet", "panels", "stacked")),
        (plots, ("bars", "columns", "curves", "estimates", "heatmaps", "histograms", "lattice", "traces", "marked")),
    ):
        for name in names:
            monkeypatch.setattr(room, name, _noting(getattr(room, name), calls.setdefault(name, [])))
    return calls


def _noting(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        calls.append((args, options))
        return function(*args, **options)

    return call


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, all_ in CAN.items() for what in all_])
def test_every_picture_is_drawn(stage: GetStage, name: str, what: str) -> None:
    found = drawing.draw(stage(name), what)
    assert isinstance(found, Drawing)
    assert found.pixels.dtype == np.uint8
    assert found.pixels.shape[2] == 3
    assert min(found.pixels.shape[:2]) > 20
    assert np.unique(found.pixels).size > 2, "an empty picture"
    assert found.title
    assert re.search(r"\d", found.caption), "a caption states numbers"
    assert found.caption.endswith(".")
    assert "nan" not in found.caption


def test_all_pictures_are_tried() -> None:
    assert {what for all_ in CAN.values() for what in all_} == set(PICTURES)


@pytest.mark.parametrize(("name", "what", "error", "words"), CANNOT)
def test_what_cannot_be_shown_is_refused(
    stage: GetStage, name: str, what: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        drawing.draw(stage(name), what)


@pytest.mark.parametrize(
    ("name", "what", "options", "words"),
    [
        ("vae", "denoise", {"noise": "snow"}, "noise must be one of gaussian, salt-and-pepper, drop"),
        ("vae", "inpaint", {"side": 9}, "side must be at most 8"),
        ("vae", "one_image", {"example": 10_000}, "example must be 0 to"),
        ("vae", "one_image", {"example": -1}, "example must be 0 to"),
        ("vae", "coordinate_sweep", {"coordinate": 6}, "a coordinate must be 1 to 5"),
        ("vae", "plane_sweep", {"coordinates": (0, 1)}, "a coordinate must be 1 to 5"),
        ("vae", "penalties", {"rho": 1.0}, "rho must lie between 0 and 1"),
        ("vae", "bounds", {"samples": (0,)}, "samples must be at least 1"),
        ("conditional-vae", "class_grid", {"label": 10}, "label must be 0 to 9"),
        ("conditional-vae", "grid", {"label": -1}, "label must be 0 to 9"),
        ("conditional-vae", "posterior_transfer", {"label": 10}, "label must be 0 to 9"),
        ("conditional-vae", "posterior_transfer", {"k": 0}, "k must be at least 1"),
        ("vae", "map", {"sides": 3}, "has no option 'sides'; it has n"),
    ],
)
def test_options_out_of_their_range_are_refused(
    stage: GetStage, name: str, what: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        drawing.draw(stage(name), what, **options)


# ---- noise ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "share"), [("gaussian", 1.0), ("salt-and-pepper", 0.3), ("drop", 0.3)])
def test_noise_is_what_was_asked_for(stage: GetStage, drawn: dict[str, Any], kind: str, share: float) -> None:
    found = drawing.draw(stage("vae"), "denoise", noise=kind, n=4)
    ((entries,), _) = drawn["rows"][0]
    rows = dict(entries)
    names = list(rows)
    assert names[0] == "clean"
    assert names[1].startswith("noisy")
    assert names[2] == "vae"
    assert names[3].startswith("PCA, ")
    assert all(x.shape == (4, 1, 8, 8) for x in rows.values())
    clean, bad = rows["clean"], rows[names[1]]
    if kind != "gaussian":
        changed = bad != clean
        assert set(np.unique(bad[changed])) <= ({0.0} if kind == "drop" else {0.0, 1.0})
        assert changed.mean() <= share + 0.1
    assert found.caption.count("PSNR") == 3


def test_errors_of_the_noisy_input_are_those_of_its_noise(stage: GetStage) -> None:
    """σ = 0.3, not clipped: a mean squared error of 0.09."""
    caption = drawing.draw(stage("vae"), "denoise", sigma=0.3).caption
    assert abs(float(re.findall(r"noisy, σ = 0.3: mean squared error ([\d.]+)", caption)[0]) - 0.09) < 0.02


def test_pca_for_comparison_explains_its_share(stage: GetStage) -> None:
    _, model = noisy.fitted_pca(stage("vae"))
    share = model.spectrum.cumsum(0) / model.total_variance
    assert share[model.latent_dim - 1] >= 0.9 - 1e-6
    assert share[model.latent_dim - 2] < 0.9


def test_only_the_masked_square_is_filled_in(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("vae"), "inpaint", side=4, n=5)
    rows = dict(drawn["rows"][0][0][0])
    lost = rows["clean"] != rows["masked"]  # pixels of the square that were not black before
    assert (rows["masked"][lost] == 0).all()
    assert (rows["vae"][lost] != 0).any()
    for before, after in zip(rows["clean"], rows["vae"], strict=True):
        _, down, across = (before != after).nonzero()
        assert len(down)
        assert max(np.ptp(down), np.ptp(across)) < 4, "something outside of the square was changed"


# ---- sparse codes --------------------------------------------------------------------------------------------------


def test_activation_maps_are_class_means_on_a_fixed_scale(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("sparse"), "activations_by_class")
    (maps, names), options = drawn["heatmaps"][0]
    assert (options["low"], options["high"]) == (0, 0.5)
    assert len(maps) == len(names)
    assert maps.shape[1:] == (3, 3)
    assert np.isnan(maps[:, 2, 1:]).all()
    y, model = stage("sparse").labels(), stage("sparse").model
    z, _ = stage("sparse").latents(100)
    wanted = sparsity.activation(z[y == int(names[0])]).mean(0)  # type: ignore[arg-type]
    assert np.allclose(maps[0].ravel()[:7], wanted.numpy(), atol=1e-6)
    assert model.latent_dim == 7


@pytest.mark.parametrize(("size", "shape"), [(900, (30, 30)), (7, (3, 3)), (12, (3, 4)), (1, (1, 1))])
def test_maps_are_near_squares(size: int, shape: tuple[int, int]) -> None:
    found = sparse.near_square(torch.arange(size).float())
    assert found.shape == shape
    assert (found.ravel()[:size] == np.arange(size)).all()


def test_nearly_dead_units_are_counted(stage: GetStage, monkeypatch: pytest.MonkeyPatch) -> None:
    def two_of_seven(z_BL: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.009, 0.011, 0.5, 0.5, 0.5, 0.5]).expand(len(z_BL), -1)

    monkeypatch.setattr(stage("sparse").model, "activations", two_of_seven)
    caption = drawing.draw(stage("sparse"), "activation_histograms").caption
    assert "28.6% of the units are nearly dead" in caption
    assert f"mean {(2 + 0.02) / 7:.4f}" in caption


def test_penalties_are_none_at_rho(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("vae"), "penalties", rho=0.2)
    ((series,), _) = drawn["curves"][0]
    assert len(series) == 3
    for q, cost in series.values():
        assert q[0] == pytest.approx(0.001)
        assert q[-1] == pytest.approx(0.999)
        assert q[cost.argmin()] == pytest.approx(0.2)
        assert cost.min() == pytest.approx(0, abs=1e-9)


# ---- the encoder's Jacobian ----------------------------------------------------------------------------------------


def test_the_jacobian_of_pca_has_singular_values_of_one(stage: GetStage, drawn: dict[str, Any]) -> None:
    """Its encoder is a projection on orthonormal directions."""
    drawing.draw(stage("pca"), "jacobian_spectrum", n=3)
    ((series,), _) = drawn["curves"][0]
    ((x, values),) = series.values()
    assert len(x) == stage("pca").model.latent_dim
    assert np.allclose(values, 1, atol=1e-4)


def test_the_jacobian_is_that_of_finite_differences(stage: GetStage) -> None:
    from latentscape.tasks.showing import latent

    model, batch = able(stage("autoencoder")).double(), stage("autoencoder").examples(1)
    try:
        x = batch.x[0].double()
        with torch.no_grad():
            bump = torch.zeros_like(x)
            bump.view(-1)[27] = 1e-4
            slope = (model.encode((x + bump)[None]) - model.encode((x - bump)[None]))[0] / 2e-4
        assert torch.allclose(latent._jacobian(model, x, None)[:, 27].double(), slope, atol=1e-3)
    finally:
        model.float()


# ---- labels --------------------------------------------------------------------------------------------------------


def test_transfer_has_a_row_per_image_and_a_column_per_class(stage: GetStage, drawn: dict[str, Any]) -> None:
    here = stage("conditional-vae")
    drawing.draw(here, "transfer", n=3)
    (cells, headings), _ = drawn["headed_sheet"][0]
    assert headings == ["original", *"0123456789"]
    assert cells.shape == (33, 1, 8, 8)
    batch = here.examples(3)
    assert np.allclose(cells[11], here.unit(batch.x)[1])
    with torch.no_grad():
        wanted = able(here).decode(able(here).encode(batch.x, batch.y)[1:2], torch.tensor([4]))
    assert np.allclose(cells[11 + 1 + 4], wanted[0].numpy(), atol=1e-6)


def test_samples_of_a_conditional_model_have_a_class_per_column(stage: GetStage, drawn: dict[str, Any]) -> None:
    caption = drawing.draw(stage("conditional-vae"), "samples", n=64).caption
    (x,), options = drawn["sheet"][0]
    assert options["columns"] == 10
    assert len(x) == 70
    assert caption.startswith("70 latents")


def test_class_grids_have_a_panel_per_class(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("conditional-vae"), "class_grids", steps=3)
    (panels, names), _ = drawn["panels"][0]
    assert len(panels) == len(names) == 10
    assert not (panels[0] == panels[1]).all(), "every label decodes alike"


def test_the_label_of_a_grid_matters(stage: GetStage) -> None:
    first, second = (drawing.draw(stage("conditional-vae"), "class_grid", steps=3, label=k).pixels for k in (0, 7))
    assert not (first == second).all()


def test_posterior_samples_keep_their_z_under_another_label(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("conditional-vae"), "posterior_transfer", k=4)
    rows = [x for _, x in drawn["rows"][0][0][0]]
    assert [len(x) for x in rows] == [1, 4, 4]
    assert not (rows[1] == rows[2]).all()


def test_a_curve_per_label(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("curve-by-label"), "latent_curve", steps=9)
    drawing.draw(stage("curve"), "latent_curve", steps=9)
    by_label, single = (call[0][0] for call in drawn["traces"])
    assert set(by_label) == {"sine", "circle"}
    assert set(single) == {"decoded"}
    assert all(line.shape == (9, 2) for line in (*by_label.values(), *single.values()))


# ---- posteriors ----------------------------------------------------------------------------------------------------


def test_bounds_rise_with_the_number_of_samples(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("vae"), "bounds", samples=(1, 100))
    (means, errors), _ = drawn["estimates"][0]
    assert list(means) == ["ELBO (k = 1)", "k = 100"] == list(errors)
    assert means["k = 100"] > means["ELBO (k = 1)"]
    assert all(e > 0 for e in errors.values())


def test_dimensions_are_sorted_by_their_nats(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("vae"), "kl_per_dimension")
    ((values,), _) = drawn["bars"][0]
    assert sorted(values.values(), reverse=True) == list(values.values())
    assert set(values) == {f"z{i}" for i in range(1, 6)}


def test_sweeps_go_where_they_say(stage: GetStage, monkeypatch: pytest.MonkeyPatch) -> None:
    here, codes = stage("vae"), []
    monkeypatch.setattr(Stage, "decode", lambda self, z, y=None: codes.append(z) or np.zeros((len(z), 1, 8, 8)))
    with torch.no_grad():
        q = able(here).posterior(here.example(2).x)
    drawing.draw(here, "coordinate_sweep", example=2, coordinate=3)
    assert codes[0].shape == (20, 5)
    std = (0.5 * q.log_var[0, 2]).exp()
    assert torch.allclose(
        codes[0][[0, -1], 2], torch.stack([q.mean[0, 2] - 3 * std, q.mean[0, 2] + 3 * std]), atol=1e-5
    )
    others = [0, 1, 3, 4]
    assert torch.equal(codes[0][:, others], q.mean[:, others].expand(20, -1))
    drawing.draw(here, "plane_sweep", coordinates=(2, 4))
    assert codes[1].shape == (25, 5)
    assert codes[1][:, [1, 3]].amin() == -100
    assert codes[1][:, [1, 3]].amax() == 100
    drawing.draw(here, "factor_sweep", rows=2, columns=7)
    assert [c.shape for c in codes[2:]] == [(7, 5), (7, 5)]
    moved = [int((c[0] != c[-1]).nonzero()) for c in codes[2:]]
    activity = here.latents(5_000)[0].var(0)
    assert moved == activity.argsort(descending=True)[:2].tolist()


def test_titles_are_what_the_classifier_reads(stage: GetStage, drawn: dict[str, Any]) -> None:
    drawing.draw(stage("vae"), "plane_sweep", steps=2)
    (x, titles), _ = drawn["titled_sheet"][0]
    assert titles == ["1" if picture.mean() > 0.5 else "0" for picture in x]
    drawing.draw(stage("unlabelled"), "plane_sweep", steps=2)
    assert drawn["titled_sheet"][1][0][1] == [""] * 4


def test_one_image_prints_its_moments(stage: GetStage, drawn: dict[str, Any]) -> None:
    caption = drawing.draw(stage("vae"), "one_image").caption
    assert [len(part.split(",")) for part in re.findall(r"\[(.*?)\]", caption)[-2:]] == [5, 5]
    (x, titles), _ = drawn["titled_sheet"][0]
    assert len(x) == 4
    assert [t.split(":")[0] for t in titles] == ["original", "reconstruction", "posterior sample", "z + U[0, 1)"]
    with torch.no_grad():
        q = able(stage("vae")).posterior(stage("vae").example(0).x)
    assert np.allclose(drawn["columns"][0][0][0], q.mean[0])
    assert np.allclose(drawn["columns"][0][1]["errors"], (0.5 * q.log_var[0]).exp())


# ---- choices -------------------------------------------------------------------------------------------------------


def test_selected_pixels_are_where_the_model_takes_them(stage: GetStage, drawn: dict[str, Any]) -> None:
    caption = drawing.draw(stage("concrete"), "selected_pixels").caption
    chosen = able(stage("concrete")).selected()
    places = drawn["marked"][0][0][1]
    assert {r * 8 + c for r, c in places} == set(chosen.tolist())
    assert f"{len(places)} different inputs of 64" in caption
    kept = dict(drawn["rows"][0][0][0])["kept"]
    assert (kept.reshape(10, 64)[:, [i for i in range(64) if i not in chosen]] == 0).all()


def test_code_usage_adds_up(stage: GetStage, drawn: dict[str, Any]) -> None:
    caption = drawing.draw(stage("vq"), "codes").caption
    share = drawn["columns"][0][0][0]
    assert len(share) == 12
    assert share.sum() == pytest.approx(100)
    used, size, perplexity = re.findall(r"(\d+) of (\d+) codes are used, with a perplexity of ([\d.]+)\.", caption)[0]
    assert int(used) == (share > 0).sum()
    assert int(size) == 12
    p = share[share > 0] / 100
    assert float(perplexity) == pytest.approx(np.exp(-(p * np.log(p)).sum()), abs=0.06)


def test_confusion_counts_what_is_misread(stage: GetStage) -> None:
    """The caption's numbers are those of a count by hand."""
    made = stage("classifier")
    batch = made.examples(10_000)
    with torch.no_grad():
        read = made.model.classify(batch.x).argmax(1)
    wrong = int((read != batch.y).sum())
    told = drawing.draw(made, "confusion").caption
    assert f"{wrong} are misread ({wrong / len(read):.2%})" in told
    assert f"{wrong} of " in drawing.draw(made, "misread").caption
