"""Export folders small enough to make in a test, with onnx alone, and what their nets compute, in NumPy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LATENTS = 3


@dataclass
class Tiny:
    """Linear encoder, decoder a sigmoid of a linear map; with labels, each shifts the latents that are decoded."""

    folder: Path
    shape: tuple[int, ...] = (1, 6, 5)
    labels: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = (0.0, 1.0)
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draws = np.random.default_rng(7)
        size = int(np.prod(self.shape))
        self.encoder = draws.normal(0, 0.3, (size, LATENTS)).astype(np.float32)
        self.decoder = draws.normal(0, 1.0, (LATENTS, size)).astype(np.float32)
        self.shifts = draws.normal(0, 1.0, (max(len(self.labels), 1), LATENTS)).astype(np.float32)

    def encode(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1) @ self.encoder

    def decode(self, z: np.ndarray, y: Any = None) -> np.ndarray:
        moved = z if y is None else z + self.shifts[y]
        return (1 / (1 + np.exp(-moved @ self.decoder))).reshape(len(z), *self.shape)

    def reconstruct(self, x: np.ndarray, y: Any = None) -> np.ndarray:
        return self.decode(self.encode(x), y)

    def write(self, **changes: Any) -> Path:
        """The folder with its nets and card; `changes` are entries of the card."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {"encoder.onnx": self._encoder(), "decoder.onnx": self._decoder()}
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        self.card = {
            "format": 1,
            "latentscape": "0.1.0",
            "name": "tiny",
            "model": "vae",
            "data": "/home/someone/secret/pictures",
            "shape": list(self.shape),
            "value_range": None if self.value_range is None else list(self.value_range),
            "latent_dim": LATENTS,
            "classes": len(self.labels),
            "labels": list(self.labels),
            "needs_labels": bool(self.labels),
            "files": {n: {"sha256": hashlib.sha256(d).hexdigest(), "bytes": len(d)} for n, d in files.items()},
            "abilities": ["encode", "decode", "reconstruct", "sample", "score"],
            "prior": {"kind": "normal", "mean": [0.0] * LATENTS, "std": [1.0, 2.0, 0.5]},
            "score": {"kind": "reconstruction_mse", "quantiles": np.linspace(0.1, 0.3, 101).tolist(), "n": 500},
            "metrics": {"mse": 0.2},
            "made": "latentscape export /home/someone/secret/run",
            **changes,
        }
        (self.folder / "card.json").write_text(json.dumps(self.card))
        return self.folder

    def _encoder(self) -> bytes:
        nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["z"])]
        return _model(nodes, [("x", self.shape)], ("z", (LATENTS,)), {"w": self.encoder})

    def _decoder(self) -> bytes:
        nodes, held = [], {"w": self.decoder, "shape": np.array([-1, *self.shape], np.int64)}
        inputs: list[tuple[str, tuple[int, ...]]] = [("z", (LATENTS,))]
        if self.labels:
            held["shifts"] = self.shifts
            inputs.append(("y", ()))
            nodes += [helper.make_node("Gather", ["shifts", "y"], ["s"]), helper.make_node("Add", ["z", "s"], ["m"])]
        nodes += [
            helper.make_node("MatMul", ["m" if self.labels else "z", "w"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["x"]),
        ]
        return _model(nodes, inputs, ("x", self.shape), held)


def _model(
    nodes: list[Any],
    inputs: list[tuple[str, tuple[int, ...]]],
    output: tuple[str, tuple[int, ...]],
    held: dict[str, np.ndarray],
) -> bytes:
    def told(name: str, shape: tuple[int, ...]) -> Any:
        kind = TensorProto.INT64 if name == "y" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, ["batch", *shape])

    graph = helper.make_graph(
        nodes,
        "tiny",
        [told(*i) for i in inputs],
        [told(*output)],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model.SerializeToString()
