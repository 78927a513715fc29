"""Runs handed on: to the Hugging Face hub or a folder, and from there into a run folder again.

What is handed on says nothing of the machine it was made on: paths are cut to their last word. What is taken in is
TOML, JSON, safetensors and pictures under names that a run has; nothing else is fetched, and nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from latentscape.contract import Model
from latentscape.data.cache import cache_root
from latentscape.data.names import named
from latentscape.errors import ConfigError, LatentscapeError, RunError, RunFailed
from latentscape.pictures.files import CAPTIONS, GALLERY, atomic, read_captions
from latentscape.runs import SHARED, RunFolder, free_name
from latentscape.tasks.card import card
from latentscape.training.checkpoint import to_json, write_atomically

CARD = "README.md"

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PICTURE = re.compile(rf"{GALLERY}/[A-Za-z0-9][\w-]*(\.[\w-]+)*\.(png|gif|mp4)")
_PATH = re.compile(r"(?<![\w.:/~-])[~/](?:[^\s'\":,;()/]*/)+([^\s'\":,;()/]+)")


def is_ours(name: str) -> bool:
    """Whether a file of a repository, by its path there, belongs to a run that is handed on."""
    return name in SHARED or name == f"{GALLERY}/{CAPTIONS}" or bool(_PICTURE.fullmatch(name))


@dataclass(frozen=True)
class Place:
    """Where runs are handed on: `folder`, or the hub's repository `repo`, as "user/name"."""

    repo: str = ""
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """`user/name` or `hf://user/name`; or a folder: `./name`, `/path`, `~/name`, `file:///path`. `ConfigError`."""
        if text.startswith("file://"):
            return cls(folder=Path(unquote(urlparse(text).path)))
        if text.startswith(("./", "../", "/", "~")) or text in (".", ".."):
            return cls(folder=Path(text).expanduser())
        repo = text.removeprefix("hf://")
        if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
            raise ConfigError(f"REPO must be user/name on the hub, or a folder that begins with ./ or /; got {text!r}")
        return cls(repo=repo)

    @property
    def name(self) -> str:
        """Its last word."""
        return self.folder.resolve().name if self.folder else self.repo.split("/")[1]

    @property
    def public(self) -> str:
        """What somebody else types to get at it; of a folder, who knows where they will have it, its name."""
        return f"./{self.name}" if self.folder else self.repo

    def __str__(self) -> str:
        return str(self.folder) if self.folder else self.repo


# ---- handing on ------------------------------------------------------------------------------------------------------


def push(path: Path | str, repo: str, *, private: bool = False, licence: str = "", message: str = "") -> dict[str, Any]:
    """Put a finished run and its model card on the hub, or into a folder; says where and what.

    repo: see `Place.parse`; one that is not there is made, seen by its owner alone if `private`. licence: an
    identifier of the hub, such as "mit". message: of the commit. Raises `UserError`, and `RunFailed` where the hub
    cannot be reached.
    """
    place, folder = Place.parse(repo), RunFolder(path)
    if not folder.model_path.exists():
        raise RunError(f"{path} has not been trained to its end; run: latentscape resume {path}")
    model = folder.load_model()
    with tempfile.TemporaryDirectory(prefix="latentscape-") as temporary:
        staged = _stage(folder, Path(temporary) / (folder.name or "run"))
        write_atomically(staged.path / CARD, card(staged, model, place.public, licence).encode())
        files = sorted(n for n in _names(staged.path) if is_ours(n) or n == CARD)
        if place.folder:
            address = _into_folder(staged.path, files, place.folder)
        else:
            address = _onto_hub(staged.path, files, place.repo, private, message or f"Run {folder.name}")
    return {"run": str(folder.path), "repo": str(place), "address": address, "files": files}


def _stage(folder: RunFolder, to: Path) -> RunFolder:
    """A copy of what is handed on, without anything of this machine."""
    data: dict[str, Any] = folder.data() | {"cache": None}
    for lists in ("unreadable", "duplicates", "near_duplicates"):
        if isinstance(data.get(lists), dict):
            data[lists] = {"count": data[lists].get("count", 0), "first": []}
    copy = RunFolder.create(
        to,
        config=_without_places(folder.config()),
        command=without_places(folder.command()),
        data=without_places(data),
        environment=folder.environment(),
    )
    shutil.copyfile(folder.model_path, copy.model_path)
    if (metrics := folder.metrics()) is not None:
        copy.write_metrics(without_places(metrics))
    shown = [(path, words) for path, words in folder.pictures() if _PICTURE.fullmatch(f"{GALLERY}/{path.name}")]
    for path, _ in shown:
        _copy_picture(path, copy.pictures_path / path.name)
    captions = {path.name: without_places(words) for path, words in shown if words}
    if captions:
        write_atomically(copy.pictures_path / CAPTIONS, to_json(captions, indent=1, ensure_ascii=False).encode())
    return copy


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """Settings without the paths of one machine: data that has no name known everywhere is no longer named."""
    run = dict(config["run"])
    run["data"] = run["data"] if named(run["data"]) else ""
    return without_places(config | {"run": run})


def without_places(value: Any) -> Any:
    """Every path in a text, or in the texts of tables and lists, cut to its last word."""
    if isinstance(value, dict):
        return {k: without_places(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_places(v) for v in value]
    return _PATH.sub(r"\1", value) if isinstance(value, str) else value


def _copy_picture(source: Path, to: Path) -> None:
    """Copy a picture; words inside a PNG that name paths are cut."""
    if source.suffix == ".png":
        with Image.open(source) as picture:
            words = {k: v for k, v in picture.info.items() if isinstance(v, str)}
            if words != without_places(words):
                info = PngInfo()
                for key, text in without_places(words).items():
                    info.add_text(key, text)
                picture.save(to, format="PNG", pnginfo=info)
                return
    shutil.copyfile(source, to)


def _names(root: Path) -> list[str]:
    return [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]


def _into_folder(staged: Path, files: list[str], target: Path) -> str:
    """Copy into a new or empty folder, or over a run that was put there before; what that had besides is removed."""
    there = _names(target) if target.exists() else []
    if there and not {CARD, "config.toml"} <= set(there):
        raise RunError(f"{target} holds other files; give a new folder, an empty one, or one that `push` made")
    for name in files:
        with atomic(target / name) as temporary:
            shutil.copyfile(staged / name, temporary)
    for name in there:
        if is_ours(name) and name not in files:
            (target / name).unlink()
    return str(target)


def _onto_hub(staged: Path, files: list[str], repo: str, private: bool, message: str) -> str:
    with _hub(repo) as api:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=str(staged),
            commit_message=message,
            allow_patterns=files,
            delete_patterns=[f"{GALLERY}/*"],
        )
    return str(address)


# ---- taking in -------------------------------------------------------------------------------------------------------


def pull(repo: str, *, out: Path | str | None = None, revision: str | None = None) -> dict[str, Any]:
    """Make a run folder of what `push` put on the hub or into a folder; says where, and of which revision.

    out: the run folder; None: runs/NAME-N. revision: a branch, tag or commit of the hub. The run can be used and
    measured, and trained from with --init-from. Raises as `push`; what does not hold a whole run, `RunError`.
    """
    place = Place.parse(repo)
    target = Path(out) if out else free_name(Path("runs"), place.name)
    with tempfile.TemporaryDirectory(prefix="latentscape-") as temporary:
        commit = _fetch(place, Path(temporary), revision)
        folder = _take_in(Path(temporary), target, f"{place}{'@' + commit if commit else ''}")
    return {"run": str(folder.path), "repo": str(place), "revision": commit, "model": folder.config()["run"]["model"]}


def load(repo: str, *, revision: str | None = None) -> Model:
    """The trained model of a repository or folder, on the CPU and in evaluation mode. Raises as `pull`.

    From the hub it is fetched once for each commit, into the cache (LATENTSCAPE_CACHE).
    """
    place = Place.parse(repo)
    with tempfile.TemporaryDirectory(prefix="latentscape-") as temporary:
        if place.folder:
            _fetch(place, Path(temporary), revision)
            return _take_in(Path(temporary), Path(temporary) / "run", str(place)).load_model()
        kept = cache_root() / "hub" / place.repo.replace("/", "--")
        commit = revision or ""
        if not re.fullmatch(r"[0-9a-f]{40}", commit) or not (kept / commit).exists():
            commit = _commit(place.repo, revision)[0]
        if not (kept / commit).exists():
            _fetch(place, Path(temporary), commit)
            _take_in(Path(temporary), kept / commit, f"{place}@{commit}")
    return RunFolder(kept / commit).load_model()


def _fetch(place: Place, to: Path, revision: str | None) -> str:
    """Copy or download the files of a run into an empty folder; the commit's name, of a folder nothing."""
    if place.folder:
        if revision:
            raise ConfigError("--revision is for repositories of the hub, and this is a folder; leave it out")
        if not place.folder.is_dir():
            raise RunError(f"there is no folder {place.folder}; `latentscape push RUN {place.folder}` makes one")
        for name in filter(is_ours, _names(place.folder)):
            (to / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(place.folder / name, to / name)
        return ""
    commit, names = _commit(place.repo, revision)
    if "config.toml" not in names:
        raise RunError(f"{place} on the hub holds no run of latentscape: it has no config.toml; give another")
    with _hub(place.repo, revision) as api:
        api.snapshot_download(place.repo, revision=commit, local_dir=str(to), allow_patterns=names)
    return commit


def _commit(repo: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit that a revision stands for, and the names in it that belong to a run."""
    with _hub(repo, revision) as api:
        info = api.model_info(repo, revision=revision)
    if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):
        raise RunFailed(f"the hub does not say which commit of {repo} it has; try again later")
    return info.sha, [s.rfilename for s in info.siblings or [] if is_ours(s.rfilename)]


def _take_in(fetched: Path, target: Path, whence: str) -> RunFolder:
    """Make a run folder of fetched files, once they are seen to be whole: weights that fit settings, tables of JSON."""
    try:
        source = RunFolder(fetched)
        config = source.config()
        source.load_model()
        data, environment, metrics = source.data(), source.environment(), source.metrics()
        tables = (data, environment, metrics or {})
        if not all(isinstance(table, dict) for table in tables):
            raise RunError("data.json, environment.json and metrics.json must each hold one table")
    except LatentscapeError as error:
        raise RunError(f"what {whence} holds is not a whole run: {_of_repo(str(error), fetched)}") from error
    config = _without_places(config)
    config["run"] |= {"imported": True, "init_from": whence}  # there are no checkpoints to go on from
    folder = RunFolder.create(target, config=config, command=source.command(), data=data, environment=environment)
    with folder.locked():
        shutil.copyfile(source.model_path, folder.model_path)
        if metrics is not None:
            folder.write_metrics(metrics)
        for path in sorted(source.pictures_path.glob("*")):
            if _PICTURE.fullmatch(f"{GALLERY}/{path.name}"):
                shutil.copyfile(path, folder.pictures_path / path.name)
        if captions := read_captions(source.pictures_path):
            write_atomically(folder.pictures_path / CAPTIONS, to_json(captions, indent=1, ensure_ascii=False).encode())
        folder.append({"kind": "note", "step": 0, "text": f"Taken from {whence}."})
    return folder


def _of_repo(text: str, fetched: Path) -> str:
    """An error about a temporary folder, as one about what was fetched into it."""
    return text.replace(f"{fetched}/", "").replace(str(fetched), "it").split("; ")[0]


# ---- the hub ---------------------------------------------------------------------------------------------------------


def _api() -> Any:
    """The hub's client; it finds the user's token by itself."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise ConfigError(
            "the hub needs the package huggingface_hub, which is not installed; run: pip install huggingface_hub, or "
            "give a folder such as ./shared"
        ) from None
    return HfApi(library_name="latentscape")


@contextlib.contextmanager
def _hub(repo: str, revision: str | None = None) -> Iterator[Any]:
    """The hub's client; what it raises becomes one sentence."""
    api = _api()
    from huggingface_hub import errors

    try:
        yield api
    except errors.RevisionNotFoundError as error:
        raise RunError(
            f"{repo} on the hub has no revision {revision!r}; leave --revision out for the newest"
        ) from error
    except errors.GatedRepoError as error:
        raise RunError(
            f"{repo} on the hub is given to those who asked only; ask on its page, then: hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise RunError(
            f"there is no model {repo} on the hub, or it is not yours to see; check its name, or run: hf auth login"
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise RunError("the hub wants to know who you are; run: hf auth login, or set HF_TOKEN") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise RunError(
                f"the hub does not let you do that to {repo} ({status}); run: hf auth login, with a token that may "
                "write there"
            ) from error
        raise RunFailed(f"the hub answered {status} about {repo}; try again later") from error
    except LatentscapeError:
        raise
    except Exception as error:  # the client's network library has its own tree of errors, another in each version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise RunFailed(
            f"the hub cannot be reached ({reason}); check the network, or give a folder such as ./shared"
        ) from error
