"""An exported model in memory: what it can do, as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latentscape.errors import UserError
from latentscape.serve.card import Card, read_card, read_file

Arrays = dict[str, np.ndarray]
"""By name: x_BX float32 in the model's value range, z_BL float32, y_B int64; of answers also mse_B float64."""

FARTHEST = 1e6
"""No latent coordinate may be larger: beyond, nets overflow."""


class Exported:
    """The folder's nets and its card. Opening it checks every file against the card and runs each net once.

    Args:
        folder: as `latentscape export` writes it.
        threads: that one run may use.

    Raises `UserError` where the folder is missing, damaged or contradicts itself, or without onnxruntime.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.card = read_card(folder)
        names = [name for name in ("encoder.onnx", "decoder.onnx") if name in self.card.files]
        nets = {name: _Net(folder, name, self.card, threads) for name in names}
        self.encoder, self.decoder = nets.get("encoder.onnx"), nets.get("decoder.onnx")
        self.operations = self._operations()
        if not self.operations:
            raise UserError(f"{folder} has neither encoder.onnx nor decoder.onnx in its card; export the run again")
        try:
            for name, operation in self.operations.items():
                operation(self.example(name))
        except Exception as error:
            raise UserError(
                f"the nets of {folder} do not fit its card ({' '.join(str(error).split())[:150]}); export the run again"
            ) from None

    def _operations(self) -> dict[str, Callable[[Arrays], Arrays]]:
        able: dict[str, Callable[[Arrays], Arrays]] = {}
        if self.encoder:
            able["encode"] = self.encode
        if self.decoder:
            able["decode"] = self.decode
        if self.encoder and self.decoder:
            able["reconstruct"] = self.reconstruct
        return able

    @property
    def abilities(self) -> tuple[str, ...]:
        """What can be asked for: encode, decode, reconstruct, sample, score."""
        able = list(self.operations)
        if self.decoder and self.card.prior_mean_L is not None:
            able.append("sample")
        if "reconstruct" in able and self.card.score_quantiles is not None:
            able.append("score")
        return tuple(able)

    def wants_labels(self, ability: str) -> bool:
        """Whether it needs a label for each example."""
        by_encoder, by_decoder = (bool(net and net.wants_labels) for net in (self.encoder, self.decoder))
        if ability == "encode":
            return by_encoder
        return by_decoder or (by_encoder and ability in ("reconstruct", "score"))

    def encode(self, given: Arrays) -> Arrays:
        """x_BX, and y_B where it is wanted → z_BL."""
        assert self.encoder
        return {"z": self.encoder(given["x"], given.get("y"))}

    def decode(self, given: Arrays) -> Arrays:
        """z_BL, and y_B where it is wanted → x_BX."""
        assert self.decoder
        return {"x": self.decoder(given["z"], given.get("y"))}

    def reconstruct(self, given: Arrays) -> Arrays:
        """x_BX, and y_B where it is wanted → x̂_BX and mse_B, the mean squared error on [0, 1]."""
        xhat_BX = self.decode({**given, **self.encode(given)})["x"]
        difference = self.card.to_unit(xhat_BX).astype(np.float64) - self.card.to_unit(given["x"])
        return {"x": xhat_BX, "mse": np.square(difference).reshape(len(xhat_BX), -1).mean(1)}

    def draw(self, n: int, seed: int, temperature: float) -> np.ndarray:
        """z_NL of the card's prior, its spread times `temperature`. The same on every machine."""
        mean_L, std_L = self.card.prior_mean_L, self.card.prior_std_L
        assert mean_L is not None
        assert std_L is not None
        eps_NL = np.random.Generator(np.random.PCG64(seed)).standard_normal((n, self.card.latent_dim))
        return (mean_L + temperature * std_L * eps_NL).astype(np.float32)

    def percentile(self, mse_B: np.ndarray) -> np.ndarray:
        """The share of held-out normal examples that are reconstructed better, in percent."""
        quantiles = self.card.score_quantiles
        assert quantiles is not None
        return np.interp(mse_B, quantiles, np.linspace(0, 100, len(quantiles)))

    def example(self, operation: str) -> Arrays:
        """One example that the operation takes."""
        if operation == "decode":
            given: Arrays = {"z": np.zeros((1, self.card.latent_dim), np.float32)}
        else:
            given = {"x": np.full((1, *self.card.shape), sum(self.card.value_range or (0, 0)) / 2, np.float32)}
        if self.wants_labels(operation):
            given["y"] = np.zeros(1, np.int64)
        return given


class _Net:
    """One ONNX file as a function."""

    def __init__(self, folder: Path, name: str, card: Card, threads: int) -> None:
        self.session = _session(read_file(folder, name, card.files[name]), folder, name, threads)
        inputs = [i.name for i in self.session.get_inputs()]
        main = {"encoder.onnx": "x", "decoder.onnx": "z"}[name]
        if main not in inputs or not set(inputs) <= {main, "y"}:
            raise UserError(f"{name} of {folder} takes {', '.join(inputs)} instead of {main}; export the run again")
        self.main, self.wants_labels = main, "y" in inputs
        self.shape = (card.latent_dim,) if main == "x" else card.shape
        if self.wants_labels and not card.labels:
            raise UserError(f"{name} of {folder} wants labels that the card does not have; export the run again")

    def __call__(self, values_BX: np.ndarray, y_B: np.ndarray | None) -> np.ndarray:
        """float32, and y_B int64 where it is wanted → float32 of B and the shape that the card says."""
        feed = {self.main: values_BX, **({"y": y_B} if self.wants_labels else {})}
        (answer, *_) = self.session.run(None, feed)
        if answer.shape != (len(values_BX), *self.shape):
            raise ValueError(f"a net gave {answer.shape} instead of {(len(values_BX), *self.shape)}")
        return answer.astype(np.float32, copy=False)


def _session(data: bytes, folder: Path, name: str, threads: int) -> Any:
    try:
        import onnxruntime as ort
    except ImportError:
        raise UserError('serving needs onnxruntime: pip install "latentscape[serve]"') from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is said by the exception
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores alone
    # Batches are of any size: a plan of memory for each of them, and an arena as large as the largest, would only grow.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes are not public
        why = " ".join(str(error).split())[:150]
        raise UserError(f"onnxruntime cannot open {name} of {folder} ({why}); update it or export again") from None
