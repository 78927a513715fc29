"""The loop trains on a stream as on anything else, and goes on in the middle of an epoch, bit for bit."""

from __future__ import annotations

from pathlib import Path

from shard_files import write_shards

from latentscape.data import DataSettings
from latentscape.data.streaming import StreamBatches, load_stream
from latentscape.training.loop import Loop
from loops import copied, differing, make, make_loop


def loop_on(folder: Path, where: Path, *, max_steps: int) -> Loop:
    images = load_stream(where, DataSettings(size="8", label_attribute="odd"))
    model = make("conditional_vae", (3, 8, 8), classes=2, net="mlp", hidden=(8,), latent_dim=2)
    loop = make_loop(model, images, folder, epochs=0, max_steps=max_steps)  # type: ignore[arg-type]
    loop.batches = StreamBatches(images, 8, loop.settings.seed, model.value_range, "cpu")
    return loop


def test_going_on_in_the_middle_of_an_epoch_ends_in_the_same_weights(tmp_path: Path) -> None:
    where = write_shards(tmp_path / "set", 4, 12)
    whole = loop_on(tmp_path / "whole", where, max_steps=11)
    start = copied(whole.model.state_dict())
    whole.run()
    first = loop_on(tmp_path / "parts", where, max_steps=6)
    first.run()
    second = loop_on(tmp_path / "parts", where, max_steps=11)
    newest = second.checkpoints.newest()
    assert newest is not None
    second.restore(newest[1], newest[2])
    second.progress.finished = ""
    second.run()
    assert second.progress.step == whole.progress.step == 11
    assert second.batches.state() == whole.batches.state()
    assert not differing(whole.model.state_dict(), second.model.state_dict())
    assert differing(start, dict(whole.model.state_dict()))
