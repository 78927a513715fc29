"""What this machine offers, and what stands in the way."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from latentscape.data.cache import cache_root
from latentscape.tasks.training import environment
from latentscape.training.settings import TrainSettings


def examine() -> tuple[dict[str, Any], list[str]]:
    """Facts, and sentences about what could be better (empty: all is well)."""
    facts = environment(TrainSettings())
    cache = cache_root()
    nearest = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    compiler = next((c for c in ("g++", "c++", "clang++") if shutil.which(c)), "")
    facts |= {
        "compiler": compiler or "none",
        "cache": str(cache),
        "free_bytes_at_cache": free,
        "cores": os.cpu_count(),
        "onednn": torch.backends.mkldnn.is_available(),
    }
    advice = []
    if not torch.accelerator.is_available():
        advice.append("There is no accelerator: training runs on the CPU, which suits 28×28 images and small sets.")
    if not facts["fast_bf16"]:
        advice.append("This processor does not multiply bf16 natively: training stays in float32.")
    if not compiler:
        advice.append(
            "There is no C++ compiler: long runs of nets without convolutions stay uncompiled (half the speed)."
        )
    if free < 2 << 30:
        advice.append(f"Only {free / 2**30:.1f} GiB are free at {cache}: packing a large folder may fill the disk.")
    if not os.access(nearest, os.W_OK):
        advice.append(f"{nearest} cannot be written: set LATENTSCAPE_CACHE to a folder that can.")
    return facts, advice
