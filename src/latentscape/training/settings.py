"""Everything about how a model is trained that is not the model's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentscape.config import LARGEST_SEED, Settings, setting
from latentscape.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """Settings of the loop."""

    epochs: int = setting(5, "passes over the training images", at_least=0)
    max_steps: int = setting(0, "stop after so many steps, whatever the epochs; 0: epochs decide", at_least=0)
    batch_size: int = setting(64, "examples per step", at_least=1)
    full_batch: bool = setting(False, "each step sees the whole training set")
    seed: int = setting(0, "of weights, order of images and every draw", at_least=0, at_most=LARGEST_SEED)
    optimiser: Literal["adam", "adamw", "rmsprop", "sgd"] = setting("adam", "one per phase")
    learning_rate: float = setting(1e-3, "of every phase's optimiser", above=0)
    beta1: float = setting(0.9, "adam: decay of the gradient's running mean; sgd: momentum", at_least=0, below=1)
    beta2: float = setting(0.999, "adam: decay of the squared gradient's running mean", at_least=0, below=1)
    weight_decay: float = setting(0.0, "L2 penalty (adam, sgd, rmsprop) or decoupled decay (adamw)", at_least=0)
    gradient_clip: float = setting(0.0, "largest norm of a phase's gradient; 0: unlimited", at_least=0)
    schedule: Literal["constant", "step", "cosine", "plateau"] = setting("constant", "of the learning rate, per epoch")
    schedule_every: int = setting(3, "step: epochs between cuts", at_least=1)
    schedule_factor: float = setting(0.1, "step, plateau: what the rate is multiplied by", above=0, below=1)
    schedule_patience: int = setting(10, "plateau: epochs without progress of the held-out loss", at_least=0)
    schedule_threshold: float = setting(1e-4, "plateau: relative progress that counts", at_least=0)
    min_learning_rate: float = setting(0.0, "stop once the learning rate is below this", at_least=0)
    early_stopping: int = setting(0, "stop after so many epochs without a better held-out loss; 0: never", at_least=0)
    ema_halflife_images: int = setting(0, "half-life of the weight average used for evaluation; 0: off", at_least=0)
    on_warning: Literal["warn", "stop"] = setting("warn", "what a failure detector does")
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, mps, …")
    precision: Literal["auto", "float32", "bf16"] = setting(
        "auto",
        "auto: bf16 where the processor multiplies it and a phase keeps its gradients; bf16: adversarial phases, too",
    )
    compile: Literal["auto", "on", "off"] = setting("auto", "torch.compile; auto: where the run is long enough to pay")
    threads: int = setting(0, "CPU threads; 0: all cores", at_least=0)
    log_every: int = setting(50, "steps between log records", at_least=1)
    checkpoint_every: int = setting(1000, "steps between checkpoints", at_least=1)
    keep_checkpoints: int = setting(2, "newest checkpoints to keep", at_least=1)
    keep_every_epochs: int = setting(
        0, "also keep one for good at the end of every so many epochs, as checkpoints/epoch-N; 0: none", at_least=0
    )
    log_to: tuple[Literal["tensorboard", "mlflow"], ...] = setting(
        (), "send curves and pictures there too, to one or both: tensorboard mlflow"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.epochs and not self.max_steps:
            raise ConfigError(
                "--epochs 0 trains without an end only if --max-steps says when to stop; give one of them"
            )
