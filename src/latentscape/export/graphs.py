"""A model's abilities as ONNX graphs, each checked against the model itself.

A graph computes what the contract's method does: `encode` (the posterior mean), `decode`, `discriminate`, `classify`,
in float32 and evaluation mode, for any batch. Its bytes are a function of the weights and the packages' versions.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentscape.contract import Classifies, Decodes, Discriminates, Encodes, Model
from latentscape.errors import AbilityError, ConfigError, RunFailed
from latentscape.nets.blocks import Linear

OPSET = 18

TOLERANCE = 1e-4
"""Most that a graph's output may differ from the model's, see `difference`."""

BATCHES = (1, 2, 7)
"""Batch sizes at which graph and model are compared."""

LARGEST = 2_000_000_000
"""Bytes of weights above which one ONNX file cannot hold them (protobuf ends at 2 GiB)."""


@dataclass(frozen=True)
class Part:
    """One file: the ability it holds, the method that computes it, and what goes in ("x" or "z") and comes out."""

    file: str
    ability: type
    method: str
    takes: str
    gives: str


PARTS = (
    Part("encoder.onnx", Encodes, "encode", "x", "z"),
    Part("decoder.onnx", Decodes, "decode", "z", "x"),
    Part("discriminator.onnx", Discriminates, "discriminate", "x", "logit"),
    Part("classifier.onnx", Classifies, "classify", "x", "logits"),
)


@dataclass(frozen=True)
class Graph:
    """A part as an ONNX file's content; parity: its largest difference from the model over everything tried."""

    part: Part
    content: bytes
    parity: float
    inputs: dict[str, list[Any]]
    outputs: dict[str, list[Any]]


Trial = tuple[Tensor, Tensor | None]
"""Inputs x_BX or z_BL, and labels y_B for a model that reads them."""


def require_packages() -> None:
    """`ConfigError` unless the packages that write and run ONNX are there."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'export needs {" and ".join(missing)}, not installed; run: pip install "latentscape[export]"'
        )


def left_out(model: Model, part: Part) -> str:
    """Why a part that the model has cannot be a graph, in words; "" where it can."""
    if part.method == "decode" and callable(getattr(model, "draw_pixels", None)):
        return (
            f"its decoder draws {model.shape.size:,} values one after the other, each from those before it, which no "
            "graph of fixed length does in reasonable time"
        )
    return ""


def parts_of(model: Model) -> tuple[list[Part], list[str]]:
    """The parts that can be exported, and sentences on those that cannot. `AbilityError` where nothing can."""
    has = [part for part in PARTS if isinstance(model, part.ability)]
    notes = [f"{part.file} is left out: {why}." for part in has if (why := left_out(model, part))]
    able = [part for part in has if not left_out(model, part)]
    if not able:
        raise AbilityError(
            "this model has neither encoder, decoder, discriminator nor classifier that ONNX can hold; "
            "`latentscape push` hands on the run itself"
        )
    return able, notes


def make(model: Model, part: Part, trials: Callable[[Part], Sequence[Trial]]) -> Graph:
    """One part as a graph, compared with the model on `trials(part)`.

    Raises `RunFailed` where it cannot be traced or differs by more than `TOLERANCE`; nothing is written here.
    """
    tried = list(trials(part))
    content = traced(model, part, tried)
    parity = largest_difference(model, part, content, tried)
    if not parity <= TOLERANCE:  # NaN is refused too
        raise RunFailed(
            f"{part.file} would not compute what the model does (largest difference {parity:.2g}, {TOLERANCE:g} is "
            "allowed), so nothing was written; please report this model and its settings"
        )
    inputs, outputs = _signature(model, part)
    return Graph(part, content, parity, inputs, outputs)


# ---- tracing -------------------------------------------------------------------------------------------------------


class _Method(nn.Module):
    """One method of a model as a module's forward."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, given: Tensor, y: Tensor | None = None) -> Tensor:
        """float32, contiguous."""
        out = getattr(self.model, self.method)(*((given,) if self.method == "classify" else (given, y)))
        return out.float().contiguous()


def traced(model: Model, part: Part, trials: Sequence[Trial]) -> bytes:
    """The part as the bytes of an ONNX file with a free batch size. Raises `RunFailed` where that cannot be."""
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    if size > LARGEST:
        raise RunFailed(
            f"the weights take {size / 2**30:.1f} GiB and an ONNX file holds less than 2; "
            "hand on the run itself with `latentscape push`"
        )
    given, y = max(trials, key=lambda trial: len(trial[0]))
    reads_y = y is not None and part.method != "classify"
    example = (given, y) if reads_y else (given,)
    batch = torch.export.Dim("batch", min=1)
    shapes = {"given": {0: batch}} | ({"y": {0: batch}} if reads_y else {})
    try:
        with _quiet():
            program = torch.onnx.export(
                _Method(_plain(model), part.method).eval(),
                example,
                None,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=[part.takes, "y"][: len(example)],
                output_names=[part.gives],
                external_data=False,
                verbose=False,
            )
            assert program is not None
            return _cleaned(program.model_proto)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0][:200]
        raise RunFailed(
            f"{part.file} cannot be written, since PyTorch cannot trace what the model does ({reason}); "
            "please report this model and its settings"
        ) from error


def _plain(model: Model) -> Model:
    """A copy with parameters of its own, contiguous float32, on the CPU, without code that asks for the batch's size.

    `blocks.Linear` computes what `nn.Linear` does and chooses a precision by the batch, which a graph cannot.
    """
    plain = copy.deepcopy(model).to("cpu").float().eval()
    for tensor in (*plain.parameters(), *plain.buffers()):
        tensor.data = tensor.data.contiguous()
    modules: list[Any] = [module for module in plain.modules() if type(module) is Linear]
    for module in modules:
        module.__class__ = nn.Linear
    return plain.requires_grad_(False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks to its authors: to standard output, warnings and its own loggers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [(logger, logger.level) for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in before:
                logger.setLevel(level)


def _cleaned(proto: Any) -> bytes:
    """The file's content: checked, in a fixed order, and without the traces of source files that the exporter leaves.

    Those name places of the machine it was made on, and no runtime reads them.
    """
    import onnx

    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:]
    for entry in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        entry.doc_string = ""
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]
    proto.doc_string = graph.doc_string = ""
    graph.name, proto.producer_name, proto.producer_version = "latentscape", "latentscape", ""
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def _signature(model: Model, part: Part) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Names and shapes of inputs and outputs."""
    sizes: dict[str, list[Any]] = {"x": ["batch", *model.shape.dims], "logit": ["batch"]}
    sizes |= {"z": ["batch", getattr(model, "latent_dim", 0)], "logits": ["batch", model.classes]}
    inputs = {part.takes: sizes[part.takes]}
    if model.needs_labels and part.method != "classify":
        inputs["y"] = ["batch"]
    return inputs, {part.gives: sizes[part.gives]}


# ---- parity --------------------------------------------------------------------------------------------------------


def session(content: bytes) -> Any:
    """An ONNX Runtime session on the CPU, as quiet as it can be."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference, over the largest absolute value expected where that is above 1.

    So pictures in [0, 1] or [-1, 1] are compared as they are, and unbounded latents, logits and vectors on the scale of
    what float32 can tell. NaN where either is not finite; infinity for another shape.
    """
    if found.shape != expected.shape:
        return float("inf")
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("nan")
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


@torch.no_grad()
def largest_difference(model: Model, part: Part, content: bytes, trials: Sequence[Trial]) -> float:
    """Over every trial; NaN where one has it."""
    run, forward = session(content), _Method(model.eval(), part.method)
    worst = 0.0
    for given, y in trials:
        feed = {part.takes: given.numpy()}
        if y is not None and part.method != "classify":
            feed["y"] = y.numpy()
        found = difference(run.run([part.gives], feed)[0], forward(given, y).numpy())
        worst = found if not found <= worst else worst
        if np.isnan(worst):
            break
    return worst
