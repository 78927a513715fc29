"""The VQ-VAE's loss is eq. 3 of its source, its prior is autoregressive over codes, and dead codes come to life."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import loops
from latentscape.contract import Batch
from latentscape.models.vq_vae import CodePrior, Model

IMAGE, VECTOR = (1, 8, 6), (5,)

every_shape = pytest.mark.parametrize("shape", [IMAGE, VECTOR], ids=["image", "vector"])


def make(shape: tuple[int, ...], **settings: Any) -> Model:
    small = {"codebook_size": 9, "code_dim": 3, "width": 8, "hidden": (7,), "prior_width": 8, "prior_layers": 1}
    model = loops.make("vq_vae", shape, **{**small, **settings})
    assert isinstance(model, Model)
    return model.train()


def batch(shape: tuple[int, ...], n: int = 5) -> Batch:
    return Batch(torch.rand(n, *shape, generator=torch.Generator().manual_seed(0)))


def play(model: Model, phase: str, at: Batch) -> Any:
    """The losses of a phase with the shared forward's tensors."""
    rng = torch.Generator().manual_seed(1)
    return model(phase, at, model.draw(phase, at, rng) | model.run_shared(at, rng))


@every_shape
def test_loss_is_that_of_the_source(shape: tuple[int, ...]) -> None:
    model, at = make(shape, revive=0.0, beta_commit=0.4), batch(shape)
    z_BDHW = model.encoder(at.x)
    vectors = z_BDHW.movedim(1, -1).reshape(-1, 3)
    chosen = torch.stack([min(model.codebook.weight, key=lambda e: float((v - e).detach().norm())) for v in vectors])
    distance = (vectors - chosen).square().mean()
    e_BDHW = chosen.view(5, *model.grid, 3).movedim(-1, 1)
    nll = model.likelihood.nll(model.decoder(e_BDHW), at.x).mean()
    losses = play(model, "reconstruct", at)
    torch.testing.assert_close(losses.terms["recon_nats_per_image"], nll)
    torch.testing.assert_close(losses.terms["codebook_mse"], distance)
    torch.testing.assert_close(losses.total, nll / math.prod(shape) + (1 + 0.4) * distance)


@every_shape
def test_each_term_moves_what_the_source_says(shape: tuple[int, ...]) -> None:
    """Entries: the second term alone. Encoder: the reconstruction, straight through, and β times the third."""
    model, at = make(shape, revive=0.0, beta_commit=0.4), batch(shape)
    z_BDHW = model.encoder(at.x)
    codes_BHW = model.codebook.nearest(z_BDHW)
    e_BDHW = model.codebook(codes_BHW)
    entry = torch.autograd.grad((z_BDHW.detach() - e_BDHW).square().mean(), model.codebook.weight)[0]
    at_code = e_BDHW.detach().requires_grad_()
    recon = model.likelihood.nll(model.decoder(at_code), at.x).mean() / math.prod(shape)
    to_encoder = torch.autograd.grad(recon, at_code)[0] + 0.4 * 2 * (z_BDHW - e_BDHW).detach() / z_BDHW.numel()
    weight = next(model.encoder.parameters())
    expected = torch.autograd.grad(z_BDHW, weight, to_encoder)[0]
    losses = play(model, "reconstruct", at)
    found = torch.autograd.grad(losses.total, [model.codebook.weight, weight])
    torch.testing.assert_close(found[0], entry)
    torch.testing.assert_close(found[1], expected)


def test_unused_entries_are_pulled_to_encoder_outputs_and_used_ones_are_not() -> None:
    model, at = make(IMAGE, revive=2.0), batch(IMAGE)
    plain = make(IMAGE, revive=0.0)
    with torch.no_grad():
        for m in (model, plain):
            m.codebook.weight[6:] = 50.0  # far from everything
    shared = model.run_shared(at, torch.Generator())
    pick_K = torch.rand(9, generator=torch.Generator().manual_seed(1))
    used = shared["codes"].unique()
    assert not set(used.tolist()) & {6, 7, 8}
    total = model("reconstruct", at, shared | {"pick": pick_K}).total
    pull = torch.autograd.grad(total, model.codebook.weight)[0]
    without = torch.autograd.grad(play(plain, "reconstruct", at).total, plain.codebook.weight)[0]
    torch.testing.assert_close(pull[used], without[used])
    outputs_ND = shared["encoded"].detach().movedim(1, -1).flatten(0, 2)
    target = outputs_ND[(pick_K[6:] * len(outputs_ND)).long()]
    torch.testing.assert_close(pull[6:], 2.0 * 2 * (50.0 - target) / outputs_ND.numel())


@pytest.mark.parametrize(("revive", "alive"), [(1.0, True), (0.0, False)])
def test_a_dead_codebook_comes_to_life_only_where_it_is_revived(revive: float, alive: bool) -> None:
    """The encoder stands still, so that the codebook alone has to find its outputs."""
    model, rng = make(IMAGE, revive=revive), torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.codebook.weight[1:] += 5.0
    optimiser = torch.optim.Adam(model.codebook.parameters(), 5e-2)
    used = torch.tensor(0.0)
    for _ in range(200):
        at = Batch(torch.rand(16, *IMAGE, generator=rng))
        losses = model("reconstruct", at, model.draw("reconstruct", at, rng) | model.run_shared(at, rng))
        used = losses.terms["codes_used"]
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
    assert (used > 4) == alive


@every_shape
def test_latents_are_the_vectors_of_the_codes_and_decoding_quantises(shape: tuple[int, ...]) -> None:
    model, at = make(shape).eval(), batch(shape)
    codes_BHW, z_BL = model.codes(at.x), model.encode(at.x)
    assert codes_BHW.shape == (5, *model.grid)
    assert model.latent_dim == z_BL.shape[1] == 3 * math.prod(model.grid)
    torch.testing.assert_close(z_BL.view(5, 3, *model.grid), model.codebook.weight[codes_BHW].movedim(-1, 1))
    gap = torch.cdist(model.codebook.weight, model.codebook.weight)[~torch.eye(9, dtype=torch.bool)].min()
    off = torch.randn(z_BL.shape, generator=torch.Generator().manual_seed(2))
    off = 0.4 * gap.detach() * off / off.view(5, 3, -1).norm(dim=1).max()  # each vector stays nearest to its own entry
    assert torch.equal(model.decode(z_BL + off), model.decode(z_BL))
    nll = play(model, "reconstruct", at).terms["recon_nats_per_image"]
    torch.testing.assert_close(-model.log_likelihood(at.x, z_BL).mean(), nll)


def test_grids_have_the_sizes_that_the_settings_say() -> None:
    assert make((1, 28, 28)).grid == (7, 7)
    assert make((3, 9, 12), halvings=1).grid == (5, 6)
    assert make(VECTOR, vector_codes=2).grid == (1, 2)
    assert "7×7 codes of 9: 155 bits" in make((1, 28, 28)).notes()[0]


# ---- the prior -------------------------------------------------------------------------------------------------


def test_the_prior_sees_earlier_codes_only() -> None:
    torch.manual_seed(0)
    prior, codes = CodePrior(5, 8, 2), torch.randint(5, (1, 4, 3))
    before = prior(codes)
    for place in range(12):
        changed = codes.clone()
        changed.view(-1)[place] = (changed.view(-1)[place] + 1) % 5
        moved = (prior(changed) - before).abs().amax((0, 1)).view(-1) > 1e-7
        assert not moved[: place + 1].any()
        assert place == 11 or moved[place + 1 :].any()


def test_the_prior_s_loss_is_the_negative_log_probability_of_the_codes() -> None:
    model, at = make(IMAGE), batch(IMAGE)
    codes_BHW = model.codes(at.x)
    log_p = torch.log_softmax(model.code_prior(codes_BHW), 1)
    by_hand = torch.stack(
        [
            sum((log_p[b, codes_BHW[b, i, j], i, j] for i in range(2) for j in range(2)), torch.zeros(()))
            for b in range(5)
        ]
    )
    losses = play(model, "prior", at)
    torch.testing.assert_close(losses.terms["code_nats_per_image"], -by_hand.mean())
    torch.testing.assert_close(losses.terms["code_bits_per_image"], -by_hand.mean() / math.log(2))


def test_samples_follow_the_prior_s_own_probabilities() -> None:
    """Frequencies of all 3² grids of two codes against the product of the conditionals."""
    torch.manual_seed(0)
    prior = CodePrior(3, 8, 1)
    with torch.no_grad():
        prior.last.weight.mul_(8)  # far from even
        grids = torch.cartesian_prod(torch.arange(3), torch.arange(3)).view(9, 1, 2)
        log_p = torch.log_softmax(prior(grids), 1).gather(1, grids[:, None])[:, 0].sum((1, 2))
        drawn = prior.sample(20_000, (1, 2), torch.Generator().manual_seed(0))
    share: Tensor = (drawn.flatten(1) @ torch.tensor([3, 1])).bincount(minlength=9) / 20_000
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0))
    torch.testing.assert_close(share, log_p.exp(), atol=0.012, rtol=0)
    assert log_p.exp().max() > 2 / 9


def test_the_prior_learns_the_codes_and_moves_nothing_else() -> None:
    model, at = make(IMAGE), batch(IMAGE)
    start = play(model, "prior", at).total.detach()
    fixed = loops.copied({k: v for k, v in model.state_dict().items() if not k.startswith("code_prior")})
    optimiser, loss = torch.optim.Adam(model.phases[1].parameters(), 1e-2), start
    for _ in range(60):
        loss = play(model, "prior", at).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.3 * start
    assert not loops.differing(fixed, {k: model.state_dict()[k] for k in fixed})
