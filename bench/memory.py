"""Does memory grow with the set? Training on a packed set of many images beside the same on a few, and the first batch.

    python -m bench.memory --count 200000

A packed set of random 3x64x64 pictures is written where LATENTSCAPE_CACHE says (a temporary folder if it says nothing);
a small convolutional VAE trains on it in a process of its own. Watched is RssAnon, memory that cannot be dropped: pages
of the mapped file count as resident too, but the system takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPE = (3, 64, 64)
CHILD = """
import time
start = time.monotonic()
import json, os, sys, tempfile
import torch
imported = time.monotonic()
from latentscape.data import cache, DataSettings
from latentscape.data.batches import Gatherer, TrainBatches
from latentscape.data.finish import finish
from latentscape import models
from latentscape.training import execution
from latentscape.training.checkpoint import CheckpointFolder
from latentscape.training.loop import Loop
from latentscape.training.settings import TrainSettings
began = time.monotonic()
raw = cache.open_packed(sys.argv[1])
assert raw is not None
data = finish(raw, DataSettings())
settings = TrainSettings(batch_size=64, epochs=0, max_steps=int(sys.argv[2]), device="cpu", compile="off")
net = models.build("vae", data.shape, models.model_class("vae").Config.from_dict({"net": "conv", "latent_dim": 32}))
execute = execution.decide(net, settings, settings.max_steps)
torch.set_num_threads(execute.threads)
net = execute.place(net)
form = torch.channels_last if execute.channels_last else torch.contiguous_format
batches = TrainBatches(Gatherer(data, "train", net.value_range, execute.device, form), 64, 0)
batches.next()
first = time.monotonic()
print(json.dumps({"import_torch_s": imported - start, "set_to_first_batch_s": first - began,
                  "process_to_first_batch_s": first - start}), flush=True)
with tempfile.TemporaryDirectory() as folder:
    from pathlib import Path
    net.train()
    Loop(net, batches, settings, execute, CheckpointFolder(Path(folder), 1)).run()
"""


def write_set(count: int, seed: int = 0) -> str:
    """A packed set of `count` random pictures; returns its key. Needs room on the disk: `count` times 12,288 bytes."""
    import torch

    from latentscape.data import cache
    from latentscape.data.raw import Raw

    key = f"bench{seed}-{count}"
    if cache.open_packed(key) is not None:
        return key
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 256, (1024, *SHAPE), dtype=np.uint8)
    digests = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    with cache.temporary(key) as place:
        with open(place / "pixels.bin", "wb") as f:
            for start in range(0, count, len(block)):
                part = block[: min(len(block), count - start)]
                f.write((part + np.uint8(start // len(block) % 251)).data)
        x = torch.from_file(str(place / "pixels.bin"), size=count * int(np.prod(SHAPE)), dtype=torch.uint8)
        files = tuple(f"{i:06d}.jpg" for i in range(count))
        cache.publish(place, key, Raw("random", x.view(count, *SHAPE), files=files, digests=digests))
    return key


def watched(key: str, steps: int) -> dict[str, float]:
    """Train in a process of its own: RssAnon at its highest in bytes, and seconds to the first batch."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, key, str(steps)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    peak = 0
    while child.poll() is None:
        peak = max(peak, _anonymous(child.pid))
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit(f"training ended with status {child.returncode}")
    return {"anonymous": peak, **json.loads(child.stdout.readline())}


def _anonymous(pid: int) -> int:
    """RssAnon in bytes; 0 once the process has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return next((int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon")), 0)
    except OSError:
        return 0


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=200_000)
    p.add_argument("--few", type=int, default=2_000, help="images of the small set")
    p.add_argument("--steps", type=int, default=200)
    args = p.parse_args()
    if not Path("/proc/self/status").exists():
        raise SystemExit("memory is read from /proc, which this system does not have")
    with tempfile.TemporaryDirectory() as place:
        os.environ.setdefault("LATENTSCAPE_CACHE", place)
        where = Path(os.environ["LATENTSCAPE_CACHE"])
        where.mkdir(parents=True, exist_ok=True)
        needed, free = (args.count + args.few) * int(np.prod(SHAPE)), shutil.disk_usage(where).free
        if free < 2 * needed:
            raise SystemExit(f"{where} has {free / 1e9:.1f} GB free; this needs {needed / 1e9:.1f} GB twice over")
        found = {}
        for count in (args.few, args.count):
            found[count] = watched(write_set(count), args.steps)
            said = "   ".join(f"{name} {value:.2f}" for name, value in found[count].items() if name != "anonymous")
            print(f"{count:8,} images: {found[count]['anonymous'] / 2**20:8,.0f} MiB anonymous   {said}", flush=True)
    ratio = found[args.count]["anonymous"] / found[args.few]["anonymous"]
    print(f"ratio: {ratio:.2f}")
    print(json.dumps({"few": args.few, "count": args.count, "ratio": ratio, "runs": list(found.values())}))


if __name__ == "__main__":
    main()
