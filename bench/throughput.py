"""Images per second of a plain PyTorch loop, of pythae's trainer and of latentscape's, timed in turn in one run.

    python -m bench.throughput --workload all --json throughput.json

The sides take turns in every round, so that a drift of the machine's speed meets them all; ratios are taken round by
round, and their median is quoted with the smallest and the largest. A machine that is busy with something else is
waited for, a round that something else disturbed is done again, and in the end the bench refuses.

Beside the figures stand the floating-point operations that torch counts in a step, as a share of the fastest matrix
product of the same minute, what the rest of the time goes to, and by how much each side's process grew.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

from bench import machine  # first: it sets what OpenMP reads when torch loads it

# isort: split
from bench.sides import SIDES, WORKLOADS, Missing, Request, Worker, difference
from latentscape.training import execution

COMPILE_ROUNDS = 3
"""Rounds in which compiled and eager steps take turns."""


def request(workload: str, args: argparse.Namespace, side: str, batch_size: int, **changes: Any) -> Request:
    """What the command line asks of a side."""
    common = {key: getattr(args, key) for key in ("device", "precision", "compile", "assumed_steps")}
    data = args.faces if WORKLOADS[workload].shape[0] == 3 else args.data
    return Request(workload, side, batch_size, data, **{**common, **changes})


def batch_sizes(workload: str, args: argparse.Namespace) -> list[int]:
    """Those of the command line, each once; `auto` is the one that latentscape takes when nobody names one."""
    own = request(workload, args, "latentscape", 0).settings()[2].batch_size
    return list(dict.fromkeys(own if b == "auto" else int(b) for b in args.batch_size))


def workers_of(workload: str, args: argparse.Namespace, stack: ExitStack) -> tuple[list[Worker], list[str]]:
    """All sides at all batch sizes, and sentences about those that are not there."""
    workers: list[Worker] = []
    notes: list[str] = []
    for batch_size in batch_sizes(workload, args):
        for side in (s for s in SIDES if s in args.sides):
            try:
                worker = Worker(request(workload, args, side, batch_size))
            except Missing as why:
                notes += [str(why)] if str(why) not in notes else []
                continue
            stack.callback(worker.close)
            workers.append(worker)
    if len(batch_sizes(workload, args)) < len(args.batch_size):
        notes.append(f"latentscape's own batch size is {batch_sizes(workload, args)[0]}, too")
    return workers, notes


def run(workload: str, args: argparse.Namespace, peak: dict[str, float], quiet: machine.Quiet) -> dict[str, Any]:
    """Time one workload."""
    seen = quiet.rounds
    with ExitStack() as stack:
        workers, notes = workers_of(workload, args, stack)
        settled = {w.title: settle(w, args, quiet) for w in workers}
        found = machine.take_turns({w.title: lambda w=w: w.ask("turn") for w in workers}, args.rounds, quiet)
        rows = []
        for w in workers:
            row = {"title": w.title, **w.about, **settled[w.title], **speed(found[w.title])}
            memory = w.ask("memory")
            row |= {"grown": memory["rss_peak"] - w.about["before"], "grown_on_device": memory["device"]}
            row |= taken_apart(workload, w, row, args, quiet) if w.about["name"] == "latentscape" else {}
            row.setdefault("flop_per_image", w.ask("flop") if w.about["name"] == "plain" else None)
            rows.append(row | share_of_peak(row, peak))
    why = difference(workload)
    return {
        "workload": workload,
        "row": WORKLOADS[workload].row,
        "shape": list(WORKLOADS[workload].shape),
        "sides": rows,
        "ratios": all_ratios(found),
        "others_used": quiet.others[seen:],
        "notes": [*notes, why] if why else notes,
    }


def settle(worker: Worker, args: argparse.Namespace, quiet: machine.Quiet) -> dict[str, Any]:
    """Warm a side up when it is quiet; only once, since what is compiled is compiled then."""
    machine.wait_for_quiet(quiet.limit, quiet.patience_s)
    return worker.ask("settle", args.seconds)


def speed(rounds: list[float]) -> dict[str, Any]:
    """Images per second, all rounds and their spread."""
    return {"images_per_second": machine.spread(rounds), "rounds": rounds}


def share_of_peak(row: dict[str, Any], peak: dict[str, float]) -> dict[str, Any]:
    """Achieved operations per second, also as a share of the fastest matrix product in the side's precision."""
    if row["flop_per_image"] is None:
        return {"flop_per_second": None, "share_of_peak": None}
    achieved = row["flop_per_image"] * row["images_per_second"]["median"]
    return {"flop_per_second": achieved, "share_of_peak": achieved / peak[row["precision"]]}


def all_ratios(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each of latentscape's sides to each of the others."""
    return {
        f"{ours} / {theirs}": machine.ratios(found[ours], found[theirs])
        for ours in found
        for theirs in found
        if ours.startswith("latentscape") and not theirs.startswith("latentscape")
    }


def taken_apart(
    workload: str, worker: Worker, row: dict[str, Any], args: argparse.Namespace, quiet: machine.Quiet
) -> dict[str, Any]:
    """Of one of latentscape's sides: operations of a step, where its time goes, and what compiling cost and saved.

    Compiled code hides what it does, so that its operations are counted on the same step without compiling, which is
    also what it is compared with.
    """
    parts = quiet.run(lambda: worker.ask("anatomy"))
    if not worker.about["compiled"]:
        return {"anatomy": parts, "flop_per_image": worker.ask("flop")}
    eager = Worker(request(workload, args, "latentscape", worker.about["batch_size"], compile="off"))
    try:
        settle(eager, args, quiet)
        turns = {"eager": lambda: eager.ask("turn"), "compiled": lambda: worker.ask("turn")}
        found = machine.take_turns(turns, COMPILE_ROUNDS, quiet)
        saved = worker.about["batch_size"] * (
            1 / machine.spread(found["eager"])["median"] - 1 / machine.spread(found["compiled"])["median"]
        )
        paid = {
            "cold_seconds": row["cold_seconds"],
            "saved_ms_per_step": 1000 * saved,
            "paid_after_steps": round(row["cold_seconds"] / saved) if saved > 0 else None,
            "ratio_to_eager": machine.ratios(found["compiled"], found["eager"]),
        }
        return {"anatomy": parts, "flop_per_image": eager.ask("flop"), "compile": paid}
    finally:
        eager.close()


# ---- words -------------------------------------------------------------------------------------------------------


def printed(answer: dict[str, Any]) -> str:
    """What a reader sees of one workload."""
    head = ["", "images/s", "GFLOP an image", "GFLOP/s", "of peak", "grows by MiB", "how"]
    rows = []
    for row in answer["sides"]:
        counted = row["flop_per_image"] is not None
        work = f"{row['flop_per_image'] / 1e9:.4g}" if counted else ""
        per_second = [f"{row['flop_per_second'] / 1e9:,.0f}", f"{row['share_of_peak']:.0%}"] if counted else ["", ""]
        grown = f"{(row['grown_on_device'] or row['grown']) / 2**20:,.0f}"
        form = ",.0f" if row["images_per_second"]["max"] >= 100 else ".1f"
        rows.append(
            [row["title"], machine.words(row["images_per_second"], form), work, *per_second, grown, row["said"]]
        )
    lines = [f"\n== {answer['workload']} ({answer['row']}), {'×'.join(map(str, answer['shape']))}"]
    lines += [machine.table(head, rows), ""]
    lines += [f"{name}: {machine.words(found)}" for name, found in answer["ratios"].items()]
    lines += [f"Note: {note}" for note in answer["notes"]]
    for row in answer["sides"]:
        lines += [_compiled(row)] if "compile" in row else []
        lines += [_parts(row)] if "anatomy" in row else []
    return "\n".join(lines)


def _compiled(row: dict[str, Any]) -> str:
    paid = row["compile"]
    after = f"has paid after {paid['paid_after_steps']:,} steps" if paid["paid_after_steps"] else "never pays"
    saves = f"saves {paid['saved_ms_per_step']:.2f} ms a step"
    return f"{row['title']}: a cold compile of {paid['cold_seconds']:.1f} s {saves} and {after}"


def _parts(row: dict[str, Any]) -> str:
    parts = row["anatomy"]
    listed = ", ".join(f"{name} {share:.0%}" for name, share in parts["shares"].items())
    took = f"{parts['ms_per_step']:.2f} ms ({parts['slower']:.2f} times that while watched)"
    return f"{row['title']}: a step of {took} is {listed}"


# ---- the command -------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    p.add_argument("--data", default="", help="28×28 pictures, name or path; empty: noise of MNIST's size")
    p.add_argument("--faces", default="", help="folder of colour pictures, brought to 56×56; empty: noise")
    p.add_argument(
        "--batch-size", nargs="+", default=["64", "auto"], help="one or more; auto: what latentscape takes by itself"
    )
    p.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0, help="of each side's turn in a round, and at least one step")
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", default="auto")
    p.add_argument("--compile", default="auto")
    p.add_argument(
        "--assumed-steps", type=int, default=0, help="length of the run that auto is judged by; 0: the recipe's"
    )
    p.add_argument("--json", default="", metavar="FILE", help="write everything there, too")
    machine.add_quiet_arguments(p)
    return p


def main() -> None:
    """Time what the command line asks for."""
    args = parser().parse_args()
    device = execution.pick_device(args.device)
    quiet = machine.Quiet(args.busy_limit, args.patience)
    peak = quiet.run(lambda: machine.matrix_peak(device))
    about = machine.describe(device)
    print(machine.heading(about))
    print("fastest matrix product: " + ", ".join(f"{k} {v / 1e9:,.0f} GFLOP/s" for k, v in peak.items()), flush=True)
    answers = []
    for workload in list(WORKLOADS) if args.workload == "all" else [args.workload]:
        answers.append(run(workload, args, peak, quiet))
        print(printed(answers[-1]), flush=True)
    if quiet.said():
        print(f"\n{quiet.said()}")
    machine.report(
        {"machine": about, "peak_flop_per_second": peak, "load": quiet.to_dict(), "workloads": answers}, args
    )


if __name__ == "__main__":
    main()
