"""Pictures per second from a folder of JPEG files to an array that training can read: a plain Pillow loop and ours.

    python -m bench.ingestion --size 64

The plain loop decodes, resizes the short side, crops, stacks and saves, as a notebook does. Ours does what `load_data`
does with a folder: list, decode, resize, digest, look for duplicates, pack; once with processes and once with threads.
They take turns, and the ratio is taken round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line sets it

import numpy as np
from PIL import Image

from latentscape.data import DataSettings, decoding, load_data, scan
from latentscape.data.picture import decode


def make_pictures(folder: Path, count: int, width: int, height: int, seed: int = 0) -> None:
    """JPEG files that compress as photographs do: smooth colours, some edges, a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
        for _ in range(12):
            a, b, c = rng.normal(size=2) / (width, height), rng.normal() / 2, rng.normal(0, 40, 3)
            pixels += c * ((a[0] * x + a[1] * y - b) > 0)[..., None]
        pixels += rng.normal(0, 4, (height, width, 1))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=80)


def plain_loop(folder: Path, side: int, into: Path) -> int:
    """What a notebook does."""
    rows = []
    for path in sorted(folder.iterdir()):
        image = Image.open(path).convert("RGB")
        scale = side / min(image.size)
        image = image.resize(
            (max(side, round(image.width * scale)), max(side, round(image.height * scale))), Image.Resampling.LANCZOS
        )
        left, top = (image.width - side) // 2, (image.height - side) // 2
        rows.append(np.asarray(image.crop((left, top, left + side, top + side))))
    np.save(into, np.stack(rows))
    return len(rows)


def ours(folder: Path, side: int, cache: Path, fewest: int) -> int:
    """From the files to a packed cache that was not there."""
    decoding.FEWEST = fewest
    with tempfile.TemporaryDirectory(dir=cache) as place:
        os.environ["LATENTSCAPE_CACHE"] = place
        return len(load_data(folder, DataSettings(size=str(side), mode="rgb")))


def seconds(work: Callable[[], int]) -> tuple[float, float]:
    """(wall-clock seconds, processor seconds of this process and its children)."""
    wall, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def peak_of(way: str, folder: Path, side: int) -> int:
    """The largest resident memory in bytes of a process that goes one way once, helping processes apart."""
    command = [sys.executable, "-m", "bench.ingestion", "--once", way, "--data", str(folder), "--size", str(side)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def largest() -> int:
    """The largest resident memory that this process had, in bytes."""
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) * 1024


def parts(folder: Path, side: int, most: int = 300) -> dict[str, float]:
    """Microseconds of processor time per picture, by part, in this process."""
    files = sorted(folder.iterdir())[:most]
    spent: dict[str, float] = {}

    def add(name: str, work: Callable[[Path], object]) -> None:
        start = time.process_time()
        for file in files:
            work(file)
        spent[name] = (time.process_time() - start) / len(files) * 1e6

    def resized(file: Path) -> None:
        with Image.open(file) as image:
            image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)

    add("open", lambda file: Image.open(file).close())
    add("open and decode whole", lambda file: np.asarray(Image.open(file)))
    add("open, decode whole, Pillow's Lanczos", resized)
    add("ours: open, decode, resize, digest", lambda file: decode(file, DataSettings(size=str(side))))
    x = load_data(folder, DataSettings(size=str(side), mode="rgb"))
    start = time.process_time()
    digests = np.zeros((len(x), 16), np.uint8)
    digests[:, :8] = np.arange(len(x), dtype=np.uint64)[:, None].view(np.uint8)
    scan.near_pairs(x.x, digests)
    return spent | {"near-duplicates": (time.process_time() - start) / len(x) * 1e6}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="", help="folder of JPEG files; empty: pictures are made")
    p.add_argument("--count", type=int, default=3000)
    p.add_argument("--from-size", default="178x218", help="width x height of the pictures that are made")
    p.add_argument("--size", type=int, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--once", default="", help=argparse.SUPPRESS)
    args = p.parse_args()
    width, height = (int(side) for side in args.from_size.split("x"))
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        folder = Path(args.data) if args.data else place / "pictures"
        if not args.data:
            folder.mkdir()
            make_pictures(folder, args.count, width, height)
        count = sum(len(path.read_bytes()) > 0 for path in folder.iterdir())  # which brings them into memory
        ways: dict[str, Callable[[], int]] = {
            "plain": lambda: plain_loop(folder, args.size, place / "plain.npy"),
            "processes": lambda: ours(folder, args.size, place, 1),
            "threads": lambda: ours(folder, args.size, place, 10**9),
        }
        if args.once:
            ways[args.once]()
            print(largest())
            return
        rounds: list[dict[str, tuple[float, float]]] = []
        for i in range(args.rounds):
            rounds.append({name: seconds(work) for name, work in ways.items()})
            told = "   ".join(f"{name} {count / wall:7,.0f}/s" for name, (wall, _) in rounds[-1].items())
            print(f"round {i + 1}: {told}", flush=True)
        result = {"count": count, "from": args.from_size, "size": args.size, "processors": decoding.processors()}
        for name in ("processes", "threads"):
            ratios = [r["plain"][0] / r[name][0] for r in rounds]
            result[f"{name}_ratio"] = statistics.median(ratios)
            result[f"{name}_spread"] = [min(ratios), max(ratios)]
            print(f"{name}: {statistics.median(ratios):.2f} times plain ({min(ratios):.2f} to {max(ratios):.2f})")
        for name in ways:
            result[f"{name}_cpu_us"] = statistics.median(r[name][1] for r in rounds) / count * 1e6
            print(f"{name}: {result[f'{name}_cpu_us']:,.0f} µs of processor time per picture")
        os.environ["LATENTSCAPE_CACHE"] = str(place / "parts")
        result["parts_us"] = parts(folder, args.size)
        for name, spent in result["parts_us"].items():
            print(f"  {name:40s} {spent:8,.0f} µs")
        if Path("/proc/self/status").exists():
            for name in ways:
                result[f"{name}_peak_mib"] = peak_of(name, folder, args.size) / 2**20
                print(f"{name}: {result[f'{name}_peak_mib']:,.0f} MiB at most in the process itself")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
