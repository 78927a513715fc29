"""pythae's trainer (https://github.com/clementchadebec/benchmark_VAE) on the nets of `bench.plain`, for the bench only.

    pip install pythae

Its own training loop is timed (`BaseTrainer.train_step`, which passes once over a set), on as many batches as a round
has: not its evaluation, not its saving. Where the package cannot be imported, the reason is a sentence in the table.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench import plain


class Missing(Exception):
    """There is no such side; the text says why."""


def _imported() -> tuple[Any, Any, Any]:
    """pythae's models, nets and trainers, without the warnings it makes with today's pydantic."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = ("pythae.models", "pythae.models.nn", "pythae.trainers")
            models, nets, trainers = (importlib.import_module(name) for name in names)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "pythae":
            raise Missing("pythae is not installed: pip install pythae") from None
        raise Missing(f"pythae needs {error.name}, which is not installed: pip install {error.name}") from None
    return models, nets, trainers


def _parts(nets: Any, net: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The plain net's halves, giving what pythae asks of encoders and decoders."""
    output = importlib.import_module("pythae.models.base.base_utils").ModelOutput

    class Encoder(nets.BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = net.encoder if isinstance(net, plain.MlpVae) else net[0]  # type: ignore[index]
            if isinstance(net, plain.MlpVae):
                self.mean, self.log_var = net.mean, net.log_std

        def forward(self, x: Tensor) -> Any:
            h = self.body(x)  # type: ignore[operator]
            if not isinstance(net, plain.MlpVae):
                return output(embedding=h)
            return output(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(nets.BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = net.decoder if isinstance(net, plain.MlpVae) else net[1]  # type: ignore[index]

        def forward(self, z: Tensor) -> Any:
            return output(reconstruction=self.body(z))  # type: ignore[operator]

    return Encoder(), Decoder()


def model(workload: str, shape: tuple[int, ...]) -> nn.Module:
    """The workload's net as a pythae model: its VAE with the cross-entropy, its AE with the squared error."""
    models, nets, _ = _imported()
    if workload == "dcgan":
        raise Missing("pythae has no GAN")
    net = plain.NETS[workload]()
    encoder, decoder = _parts(nets, net)
    if isinstance(net, plain.MlpVae):
        config = models.VAEConfig(input_dim=shape, latent_dim=32, reconstruction_loss="bce")
        return models.VAE(config, encoder=encoder, decoder=decoder)
    latent_dim = 512 if workload == "resnet-autoencoder" else 24
    return models.AE(models.AEConfig(input_dim=shape, latent_dim=latent_dim), encoder=encoder, decoder=decoder)


def start(workload: str, x_NCHW: Tensor, batch_size: int, device: str) -> tuple[nn.Module, Callable[[int], None]]:
    """The model, and its training: call with a number of steps. x_NCHW is uint8. Raises `Missing`."""
    net = model(workload, tuple(x_NCHW.shape[1:]))
    trainers = _imported()[2]
    dataset = importlib.import_module("pythae.data.datasets").BaseDataset
    scaled = x_NCHW.float() / 255
    scaled = 2 * scaled - 1 if workload == "resnet-autoencoder" else scaled
    data = dataset(scaled, torch.zeros(len(scaled)))
    folder = tempfile.TemporaryDirectory()
    config = trainers.BaseTrainerConfig(
        output_dir=folder.name,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-3 if workload == "mlp-vae" else 1e-4,
        optimizer_cls="Adam",
        keep_best_on_train=True,
        no_cuda=device == "cpu",
    )
    with _silence():
        trainer = trainers.BaseTrainer(model=net, train_dataset=data, training_config=config)
        trainer.prepare_training()

    def advance(steps: int) -> None:
        keep = folder  # lives as long as the training does
        whole, rest = divmod(steps * batch_size, len(data))
        with _silence():
            for images in [len(data)] * whole + [rest] * bool(rest):
                part = data if images == len(data) else dataset(data.data[:images], data.labels[:images])
                trainer.train_loader = trainer.get_train_dataloader(part)
                trainer.train_step(1)
        del keep

    return net, advance


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without its log and its progress bar on this terminal; both are written, to nowhere."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
