"""Runs of every family for the studio's tests: untrained nets of the smallest size, in a run folder like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Fitted, Model
from latentscape.data import DataSettings, load_data
from latentscape.data.batches import Gatherer, in_order
from latentscape.runs import RunFolder
from latentscape.studio.app import make_app
from latentscape.training.settings import TrainSettings

FAMILIES = [name.replace("_", "-") for name in models.modules()]

LIMIT = 60


def make_run(out: Path, model: str, data: str = "digits", **settings: Any) -> RunFolder:
    """A run folder whose model was built and not trained (closed forms are fitted), on a part of `data`."""
    chosen = DataSettings(limit=LIMIT)
    images = load_data(data, chosen)
    kind = models.model_class(model)
    known = {"latent_dim": 3, "net": "mlp", "hidden": (8,)}
    usable = {k: v for k, v in known.items() if k in kind.Config.__dataclass_fields__}
    config = kind.Config.from_dict(usable | settings)
    folder = RunFolder.create(
        out,
        config={
            "run": {"model": model, "data": data, "shape": list(images.shape.dims), "classes": images.classes},
            "train": {**TrainSettings().to_dict(), "seed": 0},
            "model": config.to_dict(),
            "data": chosen.to_dict(),
        },
        command=f"latentscape train {model} --data {data}",
        data={"labels": dict.fromkeys(images.label_names, 0), "fingerprint": images.fingerprint},
        environment={},
    )
    built: Model = models.build(model, DataShape(images.shape.dims), config, images.classes, 0)
    if isinstance(built, Fitted):
        source = Gatherer(images, "train", built.value_range, "cpu")
        built.fit(lambda: (b.x for b in in_order(source, 20)), lambda text: None)
    folder.save_model(built)
    return folder


@contextmanager
def studio(*folders: Path) -> Iterator[TestClient]:
    """The studio over run folders, asked without a network."""
    with TestClient(make_app(list(folders)), base_url="http://127.0.0.1") as client:
        yield client


def run_ids(client: TestClient) -> dict[str, str]:
    """Name of a run's folder → its id."""
    return {known.name: known.id for known in client.app.state.studio.places.all()}  # type: ignore[attr-defined]
