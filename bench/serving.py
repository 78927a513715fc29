"""`latentscape serve` under load: every answer compared with the right one, seconds and memory measured.

    python -m bench.serving exports/vae --clients 64 --seconds 60 --json serving.json

The server is a process of its own. Each client holds one connection and sends one request after another: encode,
decode, reconstruct, sample and score, as far as the model can, each with inputs of its own. What the right answer is,
the same nets say in this process before the load begins, one example at a time; an answer that belongs to another
request differs from it by far more than --tolerance. Clients and server share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latentscape.serve.exported import Arrays, Exported

CASES = 40
"""Different requests for each operation."""

START = "import sys; from latentscape.cli.serving import serve; serve(sys.argv[1:])"


@dataclass(frozen=True)
class Case:
    """A request as bytes, and what must come back: name of an array in the answer → values."""

    operation: str
    request: bytes
    wanted: Arrays


@dataclass
class Tally:
    """What the clients saw."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    sent: int = 0
    answered: int = 0


# ---- what is asked ------------------------------------------------------------------------------------------------


def cases(exported: Exported, examples: int, seed: int, host: str) -> list[Case]:
    """Requests for all that the model can do, with their answers."""
    draws, made = np.random.default_rng(seed), []
    for operation in exported.abilities:
        for _ in range(CASES):
            given = inputs(exported, operation, examples, draws)
            wanted, body = answer(exported, operation, given, int(draws.integers(1 << 40)))
            made.append(Case(operation, request(f"/v1/{operation}", body, host), wanted))
    return made


def inputs(exported: Exported, operation: str, examples: int, draws: np.random.Generator) -> Arrays:
    """Random examples or latents, and labels where they are wanted."""
    card = exported.card
    given: Arrays = {}
    if operation == "decode":
        given["z"] = draws.standard_normal((examples, card.latent_dim)).astype(np.float32)
    elif operation != "sample":
        low, high = card.value_range or (-1.0, 1.0)
        # Of one brightness each, so that no two are alike to a net that averages.
        level = draws.uniform(low, high, (examples, *[1] * len(card.shape)))
        noise = draws.uniform(low, high, (examples, *card.shape))
        given["x"] = ((level + noise) / 2).astype(np.float32)
    if exported.wants_labels(operation):
        given["y"] = draws.integers(len(card.labels), size=examples)
    return given


def answer(exported: Exported, operation: str, given: Arrays, seed: int) -> tuple[Arrays, dict[str, Any]]:
    """The right answer, one example at a time, and the body that asks for it."""
    labels = {"labels": given["y"].tolist()} if "y" in given else {}
    if operation == "sample":
        n = len(given.get("y", [0]))
        z_NL = exported.draw(n, seed, 1.0)
        return one_by_one(exported, "decode", {**given, "z": z_NL}), {"n": n, "seed": seed, **labels}
    name = "z" if operation == "decode" else "x"
    run = "reconstruct" if operation == "score" else operation
    wanted = one_by_one(exported, run, given)
    return ({"scores": wanted["mse"]} if operation == "score" else wanted), {name: given[name].tolist(), **labels}


def one_by_one(exported: Exported, operation: str, given: Arrays) -> Arrays:
    """Each example alone through the nets."""
    n = len(next(iter(given.values())))
    parts = [exported.operations[operation]({k: v[i : i + 1] for k, v in given.items()}) for i in range(n)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def request(path: str, body: dict[str, Any], host: str) -> bytes:
    """An HTTP request as bytes."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


# ---- clients ------------------------------------------------------------------------------------------------------


async def client(host: str, port: int, mine: list[Case], end: float, tolerance: float, tally: Tally) -> None:
    """One request after another over one connection, until the time is over."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        number = 0
        while time.perf_counter() < end:
            case = mine[number % len(mine)]
            number += 1
            await ask(reader, writer, case, tolerance, tally)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, case: Case, tolerance: float, tally: Tally
) -> None:
    """One request, its time, and whether its answer is the right one."""
    began = time.perf_counter()
    tally.sent += 1
    writer.write(case.request)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert length, head
    body = await reader.readexactly(int(length[1]))
    tally.seconds.setdefault(case.operation, []).append(time.perf_counter() - began)
    tally.answered += 1
    if not head.startswith(b"HTTP/1.1 200 "):
        tally.errors.append(f"{case.operation}: {body[:200].decode(errors='replace')}")
        return
    told = json.loads(body)
    for name, wanted in case.wanted.items():
        got = np.asarray(told[name])
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=tolerance, atol=tolerance):
            tally.wrong.append(f"{case.operation}: {name} is not what this request should get")


async def load(host: str, port: int, all_cases: list[Case], options: argparse.Namespace, tally: Tally) -> None:
    """All clients at once; those that are cut off count what they lost."""
    end = time.perf_counter() + options.seconds
    draws = np.random.default_rng(options.seed)
    orders = [[all_cases[i] for i in draws.permutation(len(all_cases))] for _ in range(options.clients)]
    running = [client(host, port, mine, end, options.tolerance, tally) for mine in orders]
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(outcome, BaseException):
            tally.errors.append(f"a client was cut off: {type(outcome).__name__}: {outcome}")


# ---- the server ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(folder: str, threads: int) -> Iterator[str]:
    """A server process; its address."""
    words = [sys.executable, "-c", START, folder, "--port", "0", "--json", "--threads", str(threads)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the server did not start")
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        process.wait(30)


def measures(url: str) -> dict[str, float]:
    """The server's own measures."""
    with urllib.request.urlopen(url + "metrics", timeout=30) as answered:
        lines = answered.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


async def watch(url: str, seconds: float, memory: list[tuple[float, float]]) -> None:
    """Resident memory of the server, twenty times."""
    began = time.perf_counter()
    for i in range(21):
        await asyncio.sleep(max(0.0, began + i * seconds / 20 - time.perf_counter()))
        bytes_held = (await asyncio.to_thread(measures, url))["process_resident_memory_bytes"]
        memory.append((time.perf_counter() - began, bytes_held / 2**20))


# ---- report -------------------------------------------------------------------------------------------------------


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    p50, p99, most = np.quantile(seconds, [0.5, 0.99, 1.0]) * 1000
    return {"n": len(seconds), "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "max_ms": round(most, 2)}


def summary(
    options: argparse.Namespace, tally: Tally, memory: list[tuple[float, float]], told: dict[str, float]
) -> Any:
    """All of it as one object."""
    from bench import machine

    runs = sum(v for k, v in told.items() if k.startswith("latentscape_batch_examples_count"))
    examples = sum(v for k, v in told.items() if k.startswith("latentscape_batch_examples_sum"))
    third = max(1, len(memory) // 3)
    levels = [statistics.median(m for _, m in part) for part in (memory[third:-third] or memory, memory[-third:])]
    return {
        "clients": options.clients,
        "seconds": options.seconds,
        "examples_per_request": options.examples,
        "requests": tally.answered,
        "requests_per_second": round(tally.answered / options.seconds, 1),
        "lost": tally.sent - tally.answered,
        "errors": len(tally.errors),
        "wrong": len(tally.wrong),
        "first_problems": (tally.errors + tally.wrong)[:5],
        "all": quantiles([s for part in tally.seconds.values() for s in part]),
        "by_operation": {name: quantiles(part) for name, part in sorted(tally.seconds.items())},
        "examples_per_run": round(examples / max(runs, 1), 2),
        "memory_mib": {
            "start": round(memory[0][1], 1),
            "middle": round(levels[0], 1),
            "end": round(levels[1], 1),
            "all": [[round(t, 1), round(m, 1)] for t, m in memory],
        },
        "machine": machine.describe(),
    }


def show(out: dict[str, Any]) -> None:
    """The table."""
    print(f"{out['clients']} clients, {out['seconds']:g} s, {out['examples_per_request']} examples in a request")
    print(f"{'operation':12s}  {'requests':>9s}  {'p50 ms':>8s}  {'p99 ms':>8s}  {'max ms':>8s}")
    for name, row in [*out["by_operation"].items(), ("all", out["all"])]:
        print(f"{name:12s}  {row['n']:9,d}  {row['p50_ms']:8.1f}  {row['p99_ms']:8.1f}  {row['max_ms']:8.1f}")
    print(f"{out['requests_per_second']:,} requests/s, {out['examples_per_run']} examples in a run of the nets")
    print(f"errors {out['errors']}, lost {out['lost']}, wrong {out['wrong']}")
    held = out["memory_mib"]
    print(f"memory {held['start']} MiB at the start, {held['middle']} in the middle, {held['end']} at the end")
    for problem in out["first_problems"]:
        print(problem)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("export", help="folder of `latentscape export`")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--examples", type=int, default=1, help="in each request")
    parser.add_argument("--threads", type=int, default=0, help="of the server's nets; 0: one for each processor")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with server(options.export, options.threads) as url:
        address = url.removeprefix("http://").rstrip("/")
        host, _, port = address.partition(":")
        all_cases = cases(Exported(Path(options.export), 1), options.examples, options.seed, address)
        tally, memory = Tally(), []

        async def both() -> None:
            await asyncio.gather(load(host, int(port), all_cases, options, tally), watch(url, options.seconds, memory))

        asyncio.run(both())
        out = summary(options, tally, memory, measures(url))
    show(out)
    if options.json:
        options.json.write_text(json.dumps(out, indent=1))
    if out["errors"] or out["lost"] or out["wrong"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
