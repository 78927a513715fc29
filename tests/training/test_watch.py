from __future__ import annotations

import pytest
import torch

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch, HasPosterior, Model, Posterior
from latentscape.training.watch import GettingWorse, PosteriorCollapse


def vae(mean_scale: float):
    """A VAE whose posterior means are the input's first values times `mean_scale`."""
    model = models.build("vae", DataShape((1, 4, 4)), models.model_class("vae").Config(net="mlp", latent_dim=3))
    model.posterior = lambda x, y=None: Posterior(mean_scale * x.flatten(1)[:, :3], torch.zeros(len(x), 3))
    return model


def batch() -> Batch:
    x = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(64) % 2)


def test_collapse_is_told_at_the_second_look_and_only_once():
    detector, model = PosteriorCollapse(), vae(0.01)
    assert detector.look(model, batch(), step=1000, last=False) is None
    warned = detector.look(model, batch(), step=1000, last=False)
    assert warned is not None
    assert "posterior collapse" in warned.text
    assert detector.look(model, batch(), step=1000, last=True) is None


def test_collapse_is_told_at_the_end_after_one_look_but_not_in_the_first_steps():
    assert PosteriorCollapse().look(vae(0.01), batch(), step=1000, last=True) is not None
    assert PosteriorCollapse().look(vae(0.01), batch(), step=50, last=False) is None


def test_a_run_that_ends_in_its_first_steps_is_told_that_it_may_be_too_short():
    warned = PosteriorCollapse().look(vae(0.01), batch(), step=44, last=True)
    assert warned is not None
    assert warned.text.startswith("posterior collapse: none of 3 latent dimensions")
    assert "the run ended after 44 steps, too early to be sure" in warned.text
    assert PosteriorCollapse().look(vae(2.0), batch(), step=44, last=True) is None


@pytest.mark.parametrize("told", [True, False])
def test_a_code_that_only_repeats_the_label_is_collapsed(told: bool):
    """The decoder is told the label anyway."""
    model = vae(1.0)
    model.needs_labels = told
    model.posterior = lambda x, y: Posterior(2.0 * y[:, None].float().expand(-1, 3), torch.zeros(len(x), 3))
    assert (PosteriorCollapse().look(model, batch(), step=1000, last=True) is not None) == told


def test_variance_within_labels_counts_for_models_that_are_told_them():
    model = vae(2.0)
    model.needs_labels = True
    assert PosteriorCollapse().look(model, batch(), step=1000, last=True) is None


def test_a_model_without_a_decoder_is_looked_at():
    class Encoder(Model, HasPosterior):
        latent_dim = 2

        def encode(self, x_BX, y_B=None):
            return self.posterior(x_BX).mean

        def posterior(self, x_BX, y_B=None):
            return Posterior(torch.zeros(len(x_BX), 2), torch.zeros(len(x_BX), 2))

    model = Encoder(DataShape((1, 4, 4)), None)
    assert PosteriorCollapse().look(model, batch(), step=1000, last=True) is not None


def test_an_active_dimension_keeps_it_silent_and_starts_the_count_again():
    detector = PosteriorCollapse()
    detector.look(vae(0.01), batch(), step=1000, last=False)
    assert detector.look(vae(2.0), batch(), step=1000, last=True) is None
    assert detector.look(vae(0.01), batch(), step=1000, last=False) is None


def test_other_families_are_not_looked_at():
    model = models.build("autoencoder", DataShape((1, 4, 4)), models.model_class("autoencoder").Config(latent_dim=2))
    assert PosteriorCollapse().look(model, batch(), step=1000, last=True) is None


def test_a_collapse_detector_goes_on_from_its_state():
    one, two = PosteriorCollapse(), PosteriorCollapse()
    one.look(vae(0.01), batch(), step=1000, last=False)
    two.restore(one.state())
    assert two.look(vae(0.01), batch(), step=1000, last=False) is not None


def hear(losses):
    detector = GettingWorse()
    return [detector.hear(v) is not None for v in losses]


def test_five_rises_in_a_row_are_told_a_dip_or_a_small_rise_is_not():
    assert hear([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]) == [False] * 5 + [True]
    assert not any(hear([1.0, 1.1, 1.2, 1.1, 1.3, 1.4, 1.5]))
    assert not any(hear([1.0, 1.001, 1.002, 1.003, 1.004, 1.005]))
    assert any(hear([-100.0, -99, -98, -97, -96, -95]))  # negative log-densities count too
