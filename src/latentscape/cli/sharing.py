"""Commands that hand runs on: push, pull."""

from __future__ import annotations

import json

from latentscape.cli.parsing import JSON, first, parse
from latentscape.cli.registry import command


@command
def push(args: list[str]) -> None:
    """Put a run and its model card on the Hugging Face hub, or into a folder: `push RUN user/name`, `push RUN ./x`."""
    run_path, rest = first(args, "push", "RUN")
    repo, rest = first(rest, "push RUN", "REPO") if run_path else ("", rest)
    options = parse(
        "push RUN REPO",
        rest,
        {
            "private": (bool, False, "a repository that is made now is seen by its owner only"),
            "license": (str, "", "the hub's name of a licence, such as mit or cc-by-4.0, for the card"),
            "message": (str, "", "of the commit; empty: Run and its name"),
            "json": JSON,
        },
    )
    from latentscape.tasks.hub import push as hand_on

    out = hand_on(run_path, repo, private=options["private"], licence=options["license"], message=options["message"])
    if options["json"]:
        print(json.dumps(out))
        return
    print(f"Put {len(out['files'])} files of {out['run']} to {out['address']}; take them back with:")
    print(f"  latentscape pull {repo}")


@command
def pull(args: list[str]) -> None:
    """Make a run folder of one that was pushed to the hub or into a folder: `pull user/name`, `pull ./x`."""
    repo, rest = first(args, "pull", "REPO")
    options = parse(
        "pull REPO",
        rest,
        {
            "out": (str, "", "run folder; empty: runs/NAME-N"),
            "revision": (str, "", "of the hub: a branch, a tag or a commit; empty: the newest"),
            "json": JSON,
        },
    )
    from latentscape.tasks.hub import pull as take_in

    out = take_in(repo, out=options["out"] or None, revision=options["revision"] or None)
    if options["json"]:
        print(json.dumps(out))
        return
    commit = f" of revision {out['revision']}" if out["revision"] else ""
    print(f"The run lies in {out['run']}: {out['model']}{commit}.")
