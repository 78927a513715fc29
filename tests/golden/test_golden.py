"""Golden loss curves: 20 CPU steps on digits, eager, float32, one thread.

Recorded by `python -m pytest tests/golden --record`, never typed. On the processor and torch version that recorded a
curve it must come out again to the last bit; elsewhere within a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch

from latentscape import models
from latentscape.contract import Trained
from latentscape.data import load_data
from latentscape.data.batches import Gatherer, TrainBatches
from latentscape.tasks import overrides
from latentscape.training.checkpoint import CheckpointFolder
from latentscape.training.execution import Execution
from latentscape.training.loop import Hooks, Loop

HERE = Path(__file__).parent
STEPS = 20
ELSEWHERE = 1e-4


def curves() -> list[tuple[str, dict[str, Any]]]:
    """Every trained model with its own defaults, and with the other net where it has the choice."""
    found = []
    for name in models.modules():
        model_class = models.model_class(name)
        if issubclass(model_class, Trained):
            found.append((name, {}))
            if "net" in overrides.names(model_class.Config):
                found.append((name, {"net": "mlp"}))
    return found


def processor() -> str:
    """The processor by what decides a sum's last bits: its kind and the instructions it has, not its name alone."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    flags = hashlib.sha256(" ".join(sorted(fields.get("flags", "").split())).encode()).hexdigest()[:8]
    kind = f"family {fields.get('cpu family')} model {fields.get('model')} instructions {flags}"
    return f"{fields['model name']}, {kind}"


def losses(name: str, choice: dict[str, Any], folder: Path) -> dict[str, list[float]]:
    """The logged terms of each of the 20 steps."""
    images = load_data("digits")
    config = overrides.model_settings(name, choice)
    settings = overrides.train_settings(name, images.shape, config, {"max_steps": STEPS, "log_every": 1})
    model = models.build(name, images.shape, config, images.classes, settings.seed)
    convolutional = any(isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) for m in model.modules())
    execute = Execution(device="cpu", threads=1, bf16=False, compiled=False, channels_last=convolutional)
    memory_format = torch.channels_last if convolutional else torch.contiguous_format
    source = Gatherer(images, "train", model.value_range, "cpu", memory_format)
    (folder / "checkpoints").mkdir()
    records: list[dict[str, Any]] = []
    torch.set_num_threads(1)
    Loop(
        execute.place(model),
        TrainBatches(source, settings.batch_size, settings.seed),
        settings,
        execute,
        CheckpointFolder(folder / "checkpoints", 1),
        hooks=Hooks(log=records.append),
    ).run()
    steps = [r["terms"] for r in records if r["kind"] == "train"]
    assert len(steps) == STEPS
    return {term: [step[term] for step in steps] for term in steps[0]}


@pytest.mark.parametrize(
    ("name", "choice"), curves(), ids=lambda v: v if isinstance(v, str) else v.get("net", "default")
)
def test_losses_are_those_recorded(
    name: str, choice: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = HERE / f"{'-'.join([name, *choice.values()])}.json"
    here = {"processor": processor(), "torch": torch.__version__}
    found = losses(name, choice, tmp_path)
    if request.config.getoption("--record"):
        path.write_text(json.dumps({**here, "losses": found}, indent=1) + "\n", encoding="utf-8")
        pytest.skip(f"recorded {path.name}")
    assert path.exists(), f"record the curve of {name} with: python -m pytest tests/golden --record"
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert found.keys() == golden["losses"].keys()
    exact = all(golden[k] == here[k] for k in here)
    for term, values in golden["losses"].items():
        assert found[term] == (values if exact else pytest.approx(values, rel=ELSEWHERE)), term


@pytest.mark.parametrize(
    ("name", "choice"), curves(), ids=lambda v: v if isinstance(v, str) else v.get("net", "default")
)
def test_recorded_losses_fall(name: str, choice: dict[str, Any]) -> None:
    """A curve recorded from a broken model would guard the fault."""
    golden = json.loads((HERE / f"{'-'.join([name, *choice.values()])}.json").read_text(encoding="utf-8"))
    images = load_data("digits")
    phases = models.build(name, images.shape, overrides.model_settings(name, choice), images.classes).phases
    if len(phases) > 1:
        pytest.skip("the losses of a game need not fall")
    total = golden["losses"][f"{phases[0].name}/total"]
    assert sum(total[-5:]) < 0.95 * sum(total[:5])


def test_no_curve_is_left_of_a_model_that_is_gone() -> None:
    wanted = {"-".join([name, *choice.values()]) for name, choice in curves()}
    assert {p.stem for p in HERE.glob("*.json")} == wanted
