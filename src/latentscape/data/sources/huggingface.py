"""Data sets of the Hugging Face hub by name: `hf:owner/name`, or `hf:owner/name/folder` for one of several in it.

Their Parquet files alone are fetched, into the hub's own cache (`HF_HOME`), and read as any other Parquet files are. No
program of a repository is ever run, and nothing but Parquet is fetched, so that there is none to run. Sets that are
stored in another form are had in the copy as Parquet that the hub itself makes of them.

What the hub's library writes with `save_to_disk` is a folder like any other; see `parquet`.
"""

from __future__ import annotations

import re
from pathlib import Path

from latentscape.data.raw import Raw
from latentscape.data.recognise import find_shards
from latentscape.data.settings import DataSettings
from latentscape.errors import DataError

CONVERTED = "refs/convert/parquet"
"""The revision under which the hub keeps its own copy of a set as Parquet."""

_NAME = re.compile(
    r"hf:(?://)?(?:datasets/)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:/(?P<folder>[\w.-]+))?/?"
)


def load_hub(name: str, settings: DataSettings, *, progress: bool = False) -> Raw:
    """Read a set by its name on the hub, fetched first if it is not in the hub's cache. Raises `DataError`."""
    from latentscape.data.sources.parquet import load_parquet

    repo, _ = parse(name)
    return load_parquet(fetch_hub(name), settings, name=repo.rpartition("/")[2], progress=progress)


def parse(name: str) -> tuple[str, str]:
    """`hf:owner/name/folder` → ("owner/name", "folder"); the folder is empty if none is named. `DataError`."""
    found = _NAME.fullmatch(name.strip())
    if not found or ".." in name:
        raise DataError(f"a data set on the hub is hf:owner/name or hf:owner/name/folder, got {name!r}")
    return found["repo"], found["folder"] or ""


def fetch_hub(name: str) -> Path:
    """The folder with the set's Parquet files, fetched if they are not there. Raises `DataError`."""
    repo, folder = parse(name)
    for revision in (None, CONVERTED):
        place = _snapshot(repo, folder, revision)
        if place is not None and find_shards(place / folder):
            return place / folder
    what = f"folder {folder} of {repo}" if folder else repo
    raise DataError(
        f"{what} on the hub holds no Parquet files, which are all that is read from there; download it and point at "
        "its folder of pictures"
    )


def _snapshot(repo: str, folder: str, revision: str | None) -> Path | None:
    """The repository's Parquet files as the hub's cache has them; None if the revision is not there."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise DataError(
            f"hf:{repo} needs the package huggingface_hub, which is not installed; run: pip install 'latentscape[hub]'"
        ) from None
    patterns = [f"{folder}/*.parquet", f"{folder}/**/*.parquet"] if folder else ["*.parquet", "**/*.parquet"]
    try:
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except errors.RevisionNotFoundError:
        return None
    except errors.GatedRepoError:
        raise DataError(
            f"{repo} on the hub is given to those who asked only; ask on its page, then: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"there is no data set {repo} on the hub, or it is not yours to see; check its name, or run: hf auth login"
        ) from None
    except Exception as error:  # the client's network library has its own tree of errors, another in each version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].removeprefix("Got: ")[:150]
        raise DataError(
            f"{repo} cannot be had from the hub ({reason}); check the network, or point at a folder with its files"
        ) from None
