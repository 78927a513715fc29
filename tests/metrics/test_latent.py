"""What latents say: neighbours in planted clusters, active units, KL and ELBO of a model known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from latentscape.contract import HasLikelihood, HasPosterior, Posterior
from latentscape.metrics import latent


def clusters(n: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """n points round three corners that lie ten apart."""
    rng = torch.Generator().manual_seed(seed)
    y_N = torch.arange(n) % 3
    corners = 10 * torch.eye(3)[:, :2]
    return corners[y_N] + spread * torch.randn(n, 2, generator=rng), y_N


def test_neighbours_read_planted_clusters() -> None:
    train, test = clusters(90, 0.5, 0), clusters(60, 0.5, 1)
    assert latent.knn_accuracy(*train, *test) == 1.0
    z_NL, y_N = test
    assert latent.knn_accuracy(*train, z_NL, (y_N + 1) % 3) == 0.0
    wrong = y_N.clone()
    wrong[:15] = (wrong[:15] + 1) % 3
    assert latent.knn_accuracy(*train, z_NL, wrong) == pytest.approx(0.75)


def test_neighbours_without_information_read_by_chance() -> None:
    train, test = clusters(600, 200.0, 0), clusters(600, 200.0, 1)
    assert latent.knn_accuracy(*train, *test) == pytest.approx(1 / 3, abs=0.08)


def test_the_majority_of_five_neighbours_counts_and_fewer_when_there_are_fewer() -> None:
    z_NL = torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0]])
    y_N = torch.tensor([0, 0, 1, 1, 1, 0])
    asked, answer = torch.tensor([[0.0]]), torch.tensor([1])
    assert latent.knn_accuracy(z_NL, y_N, asked, answer) == 1.0
    assert latent.knn_accuracy(z_NL, y_N, asked, answer, k=1) == 0.0
    assert latent.knn_accuracy(z_NL[:2], y_N[:2], asked, torch.tensor([0])) == 1.0


def test_active_units_have_means_that_vary_with_the_image() -> None:
    """Var over x of E[z|x] above 0.01: standard deviations above 0.1."""
    rng = torch.Generator().manual_seed(0)
    means = torch.randn(5000, 4, generator=rng) * torch.tensor([1.0, 0.12, 0.08, 0.0]) + torch.tensor([0, 5, 9, 3.0])
    assert latent.active_units(means) == 2


class Linear(HasPosterior, HasLikelihood):
    """q(z|x) = N(x, 4), p(x|z) = N(z, 1): every term is known."""

    latent_dim = 2

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        return x_BX

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return z_BL

    def posterior(self, x_BX: Tensor, y_B: Tensor | None = None) -> Posterior:
        return Posterior(x_BX, torch.full_like(x_BX, math.log(4)))

    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return (-0.5 * (x_BX - z_BL).square() - 0.5 * math.log(2 * math.pi)).sum(1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kl_is_summed_over_latents() -> None:
    x_BX = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    per_latent = 0.5 * (4 - math.log(4) - 1)
    expected = torch.tensor([2 * per_latent, 2 * per_latent + 0.5 * 5])
    torch.testing.assert_close(latent.kl_and_elbo_nats(Linear(), x_BX, None, rng())[0], expected)


def test_elbo_is_likelihood_less_kl_and_seeded() -> None:
    x_BX = torch.tensor([[1.0, -2.0]]).expand(40_000, -1)
    found = elbo(Linear(), x_BX)
    kl = 2 * 0.5 * (4 - math.log(4) - 1) + 0.5 * 5
    expected = -0.5 * 4 * 2 - math.log(2 * math.pi) - kl  # E(x − z)² = 4 in each of two latents
    assert float(found.mean()) == pytest.approx(expected, abs=0.1)
    assert torch.equal(found, elbo(Linear(), x_BX))


def elbo(model: HasPosterior, x_BX: Tensor, seed: int = 0) -> Tensor:
    found = latent.kl_and_elbo_nats(model, x_BX, None, rng(seed))[1]
    assert found is not None
    return found


class NoLikelihood(HasPosterior):
    """A posterior and nothing to decode with."""

    latent_dim = 2
    encode, posterior = Linear.encode, Linear.posterior


def test_without_a_likelihood_there_is_a_kl_and_no_elbo() -> None:
    x_BX = torch.ones(3, 2)
    kl_B, none = latent.kl_and_elbo_nats(NoLikelihood(), x_BX, None, rng())
    assert none is None
    assert torch.equal(kl_B, latent.kl_and_elbo_nats(Linear(), x_BX, None, rng())[0])


class OtherPrior(Linear):
    """p(z) = N(1, 9), which has a closed-form divergence too, but not the package's."""

    def log_prior(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return Normal(1.0, 3.0).log_prob(z_BL).sum(1)


class SamePrior(Linear):
    """N(0, I) in words of its own, so that its divergence is estimated."""

    def log_prior(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return Normal(0.0, 1.0).log_prob(z_BL).sum(1)


@pytest.mark.parametrize(("model", "prior"), [(OtherPrior(), Normal(1.0, 3.0)), (SamePrior(), Normal(0.0, 1.0))])
def test_a_prior_of_the_model_s_own_is_the_one_that_counts(model: Linear, prior: Normal) -> None:
    n = 40_000
    x_BX = torch.tensor([[1.0, -2.0]]).expand(n, -1)
    exact = float(kl_divergence(Normal(x_BX[0], 2.0), prior).sum())
    kl_B, elbo_B = latent.kl_and_elbo_nats(model, x_BX, None, rng())
    assert elbo_B is not None
    assert float(kl_B.mean()) == pytest.approx(exact, abs=5 * float(kl_B.std()) / n**0.5)
    likelihood_B = latent.kl_and_elbo_nats(Linear(), x_BX, None, rng())
    assert likelihood_B[1] is not None
    torch.testing.assert_close(elbo_B + kl_B, likelihood_B[1] + likelihood_B[0])  # the same sample, the same p(x|z)


# ---- the importance-weighted bound -----------------------------------------------------------------------------


class LinearGaussian(HasPosterior, HasLikelihood):
    """z ~ N(0, I), x = Wz + b + noise, so that p(x) = N(b, WWᵀ + σ²I) and p(z|x) are known; `loose` spoils q(z|x).

    W has orthogonal columns, for which the exact posterior is diagonal.
    """

    latent_dim, sigma = 2, 0.5

    def __init__(self, loose: float = 0.0) -> None:
        self.loose = loose
        self.w_DL = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.0, 0.0], [1.0, 0.0]]) * torch.tensor([1.0, 2.0])
        self.b_D = torch.tensor([0.0, 1.0, -1.0, 0.5])

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        return self.posterior(x_BX).mean

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return z_BL @ self.w_DL.T + self.b_D

    def posterior(self, x_BX: Tensor, y_B: Tensor | None = None) -> Posterior:
        variance_L = 1 / (1 + self.w_DL.square().sum(0) / self.sigma**2)
        mean_BL = (x_BX - self.b_D) @ self.w_DL / self.sigma**2 * variance_L
        return Posterior(mean_BL + self.loose, (variance_L.log() + self.loose).expand_as(mean_BL))

    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return Normal(self.decode(z_BL), self.sigma).log_prob(x_BX).sum(1)

    def exact(self, x_BX: Tensor) -> Tensor:
        covariance = self.w_DL @ self.w_DL.T + self.sigma**2 * torch.eye(4)
        return MultivariateNormal(self.b_D, covariance).log_prob(x_BX)


def drawn(n: int) -> Tensor:
    model = LinearGaussian()
    z_BL = torch.randn(n, 2, generator=rng(1))
    return model.decode(z_BL) + model.sigma * torch.randn(n, 4, generator=rng(2))


def test_with_the_exact_posterior_one_sample_gives_log_p_of_x() -> None:
    x_BX, model = drawn(20), LinearGaussian()
    found = latent.iwae_nats(model, x_BX, None, 1, rng())
    torch.testing.assert_close(found.float(), model.exact(x_BX), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(latent.iwae_nats(model, x_BX, None, 7, rng()), found, rtol=1e-5, atol=1e-4)


def test_the_bound_rises_with_the_samples_to_log_p_of_x_and_not_above() -> None:
    n = 2000
    x_BX, model = drawn(n), LinearGaussian(loose=0.7)
    exact = model.exact(x_BX)
    gaps = [exact - latent.iwae_nats(model, x_BX, None, k, rng(k)) for k in (1, 5, 50, 500)]
    means = [float(gap.mean()) for gap in gaps]
    errors = [float(gap.std()) / n**0.5 for gap in gaps]
    assert means[0] > 10 * errors[0]
    for looser, tighter, error in zip(means, means[1:], errors, strict=False):
        assert tighter < looser - 3 * error
        assert tighter > -3 * error
    assert abs(means[-1]) < 0.02 + 3 * errors[-1]
    one = float(elbo(model, x_BX).mean())  # of one sample it is the ELBO, but for its closed-form KL
    assert float(exact.mean()) - means[0] == pytest.approx(one, abs=6 * errors[0])


@pytest.mark.parametrize("decoded", [3, 40, 100_000])
def test_the_size_of_chunks_bounds_the_memory_and_not_the_estimate(decoded: int) -> None:
    x_BX, model, most = drawn(20), LinearGaussian(loose=0.3), 0

    class Counting(LinearGaussian):
        def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
            nonlocal most
            most = max(most, len(x_BX))
            return super().log_likelihood(x_BX, z_BL, y_B)

    found = latent.iwae_nats(Counting(0.3), x_BX, None, 5000, rng(), decoded)
    assert most == {3: 20, 40: 40, 100_000: 100_000}[decoded]
    torch.testing.assert_close(found.float(), model.exact(x_BX), rtol=0, atol=0.15)


def test_labels_go_with_their_images() -> None:
    """A likelihood that is high only where the label is the image's own."""

    class Labelled(Linear):
        def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
            assert y_B is not None
            return -1000 * (x_BX[:, 0] - y_B).abs()

        def log_prior(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
            assert y_B is not None
            return Normal(0.0, 1.0).log_prob(z_BL).sum(1) - y_B

    y_B = torch.arange(6)
    x_BX = y_B[:, None].float().expand(-1, 2)
    found = latent.iwae_nats(Labelled(), x_BX, y_B, 20_000, rng(), 60)
    torch.testing.assert_close(found[:3].float(), -y_B[:3].float(), rtol=0, atol=0.25)  # log E_q[p(z)/q(z)] = 0


def test_a_fresh_classifier_reads_what_neighbours_and_lines_cannot() -> None:
    """The label is the sign of a product, in 2 of 5 dimensions of very different scale."""
    rng = torch.Generator().manual_seed(0)
    z_NL = torch.randn(2600, 5, generator=rng)
    y_N = (z_NL[:, 0] * z_NL[:, 3] > 0).long()
    z_NL = z_NL * torch.tensor([1e-3, 10.0, 10.0, 1.0, 10.0]) + 5
    train, test = (z_NL[:2000], y_N[:2000]), (z_NL[2000:], y_N[2000:])
    torch.manual_seed(0)
    state = torch.get_rng_state()
    found = latent.fresh_accuracy(*train, *test)
    assert found > 0.9
    assert latent.knn_accuracy(*train, *test) < 0.7
    assert latent.fresh_accuracy(*train, *test) == found
    assert latent.fresh_accuracy(*train, *test, seed=1) != found
    assert torch.equal(torch.get_rng_state(), state)


def test_a_fresh_classifier_is_at_chance_where_nothing_is_to_be_read() -> None:
    """A latent that says nothing, one dimension of which stands still; one class is twice as frequent as each other."""
    rng = torch.Generator().manual_seed(0)
    z_NL, y_N = torch.randn(4000, 3, generator=rng), torch.randint(0, 4, (4000,), generator=rng) % 3
    z_NL[:, 2] = 7.0
    with torch.no_grad():  # as evaluation calls it
        found = latent.fresh_accuracy(z_NL[:3000], y_N[:3000], z_NL[3000:], y_N[3000:])
    assert 0.3 < found < 0.55
