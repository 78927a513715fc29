"""Which of several processes this one is, as torchrun or srun has told it by environment variables.

Imports nothing heavy: the command line asks before anything else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from latentscape.errors import ConfigError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
"""Those of a job *step*, which srun sets; a batch script without srun is one process, whatever the job was given."""


@dataclass(frozen=True)
class Place:
    """rank of size processes in all, local_rank of local_size on this machine; ranks count from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def place(variables: Mapping[str, str] = os.environ) -> Place:
    """Where this process stands. Raises `ConfigError` if the variables that say it are not whole numbers."""
    names = TORCHRUN if "WORLD_SIZE" in variables else SRUN
    found = [variables.get(name, "") for name in names]
    size = _number(names[1], found[1] or "1")
    if size == 1:
        return Place()
    rank, local_rank = _number(names[0], found[0]), _number(names[2], found[2] or "0")
    per_machine = found[3].split("(")[0].split(",")[0]  # srun writes 4(x2),3; the first machine has as many as any
    place = Place(rank, size, local_rank, _number(names[3], per_machine or "1"))
    if not (0 <= place.rank < place.size and 0 <= place.local_rank < place.local_size):
        raise ConfigError(f"the variables {', '.join(names)} do not fit each other: {found}; start it by torchrun")
    return place


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"the environment variable {name} is {text!r}, not a number; start it by torchrun") from None
