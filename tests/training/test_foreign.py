"""Files of weights that other programs wrote: read without running them, fitted by name or by order."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from latentscape.errors import RunError
from latentscape.training import foreign


def net(*, extra: bool = False) -> nn.Sequential:
    """A small net; with `extra`, layers without weights in between, so that the numbers differ."""
    between = [nn.Dropout(0.0), nn.ReLU()] if extra else [nn.ReLU()]
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), *between, nn.Flatten(), nn.Linear(27, 2))


def saved(content: Any, path: Path, **options: Any) -> foreign.Weights:
    torch.save(content, path, **options)
    return foreign.read(path)


def taken(own: nn.Module, weights: foreign.Weights, part: str = "encoder") -> dict[str, Tensor]:
    return {k: weights.tensors[v] for k, v in foreign.fit(own.state_dict(), weights, part, "FILE").names.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- reading ---------------------------------------------------------------------------------------------------


class Touches:
    """What unpickling would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("how", [lambda evil: evil, lambda evil: {"state_dict": {"a": torch.ones(1)}, "more": evil}])
def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(how: Any, zipped: bool, tmp_path: Path) -> None:
    target, file = tmp_path / "was-here", tmp_path / "evil.pt"
    torch.save(how(Touches(target)), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RunError, match=r"unpickling objects can run any program; save the weights alone"):
        foreign.read(file)
    assert not target.exists()
    torch.load(file, weights_only=False)  # it would have
    assert target.exists()


def test_a_plain_pickle_runs_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": Touches(tmp_path / "was-here")}))
    with pytest.raises(RunError):
        foreign.read(tmp_path / "evil.pt")
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("thing", [nn.Linear(2, 2), {"hyper_parameters": argparse.Namespace(a=1), "w": torch.ones(1)}])
def test_objects_are_refused_by_name(thing: Any, tmp_path: Path) -> None:
    kind = "Linear" if isinstance(thing, nn.Module) else "argparse.Namespace"
    with pytest.raises(RunError, match=rf"holds the object \S*{kind} beside tensors"):
        saved(thing, tmp_path / "a.pt")


def broken() -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"not weights at all",
        "zip": b"PK\x03\x04" + bytes(40),
        "safetensors": b"\xff" * 8 + b"{",
    }


@pytest.mark.parametrize("content", broken().values(), ids=broken())
def test_broken_files_are_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(RunError, match=r"^\S+a\.pt (is damaged|holds)") as told:
        foreign.read(tmp_path / "a.pt")
    assert "\n" not in str(told.value)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.save(net().state_dict(), file)
    file.write_bytes(file.read_bytes()[: os.path.getsize(file) // 2])
    with pytest.raises(RunError, match="damaged, cut short"):
        foreign.read(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no file of weights"):
        foreign.read(tmp_path / "a.pt")


def test_a_file_without_named_tensors(tmp_path: Path) -> None:
    for content in ([torch.ones(2)], torch.ones(2), {"epoch": 3}, {0: torch.ones(2)}, {"a": torch.ones(2).to_sparse()}):
        with pytest.raises(RunError, match="holds no named tensors"):
            saved(content, tmp_path / "a.pt")


def test_a_dict_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"w": torch.ones(2)}
    content["again"] = content
    assert list(saved(content, tmp_path / "a.pt").tensors) == ["w"]


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(RunError, match="TorchScript program, which is never run"):
        foreign.read(tmp_path / "a.pt")


# ---- fitting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "generator.", "model.net.", "generator._orig_mod.module.layers."]
)
def test_a_common_prefix_is_no_matter(prefix: str, tmp_path: Path) -> None:
    other = net()
    content = OrderedDict((prefix + k, v) for k, v in other.state_dict().items())
    weights = saved(content, tmp_path / "a.pt")
    assert foreign.fit(net().state_dict(), weights, "encoder", "FILE").how == "name"
    assert same(taken(net(), weights), other.state_dict())


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "generator", "weights"])
def test_what_lies_around_the_state_dict_is_no_matter(wrapper: str, tmp_path: Path) -> None:
    other = net()
    adam = torch.optim.Adam(other.parameters())
    other(torch.zeros(2, 1, 5, 5)).sum().backward()
    adam.step()
    content = {"epoch": 7, wrapper: other.state_dict(), "optimizer": adam.state_dict(), "config": {"lr": 0.1, "a": [1]}}
    assert same(taken(net(), saved(content, tmp_path / "a.ckpt")), other.state_dict())


def test_names_go_before_order(tmp_path: Path) -> None:
    """Two layers of equal shape, written the other way round."""
    own = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    other = {k: torch.randn_like(v) for k, v in own.state_dict().items()}
    weights = saved(dict(reversed(other.items())), tmp_path / "a.pt")
    assert same(taken(own, weights), other)


def test_other_numbers_are_matched_by_order_and_it_is_told(tmp_path: Path) -> None:
    other = net(extra=True)
    weights = saved(other.state_dict(), tmp_path / "a.pt")
    fit = foreign.fit(net().state_dict(), weights, "encoder", "FILE")
    assert fit.how == "order"
    assert (fit.names["0.weight"], fit.names["4.weight"]) == ("0.weight", "5.weight")
    x = torch.randn(3, 1, 5, 5)
    own = net().eval()
    own.load_state_dict(taken(own, weights))
    assert torch.equal(own(x), other.eval()(x))


@pytest.mark.parametrize("extra", [False, True])
def test_the_counter_of_batchnorm_may_be_missing(extra: bool, tmp_path: Path) -> None:
    other = net(extra=extra).state_dict()
    del other["1.num_batches_tracked"]
    found = foreign.fit(net().state_dict(), saved(other, tmp_path / "a.pt"), "encoder", "FILE").names
    assert found.keys() == net().state_dict().keys() - {"1.num_batches_tracked"}


@pytest.mark.parametrize("extra", [False, True])
def test_safetensors_give_the_same(extra: bool, tmp_path: Path) -> None:
    """Their names come sorted, layer 12 before layer 4."""
    layers = [m for i in range(14) for m in ([nn.Linear(2, 2), nn.Tanh()] if extra else [nn.Linear(2, 2)])]
    own, other = nn.Sequential(*(nn.Linear(2, 2) for _ in range(14))), nn.Sequential(*layers)
    save_file({f"layers.{k}": v for k, v in other.state_dict().items()}, tmp_path / "a.safetensors")
    weights = foreign.read(tmp_path / "a.safetensors")
    own.load_state_dict(taken(own, weights))
    for mine, theirs in zip(own, (m for m in other if isinstance(m, nn.Linear)), strict=True):
        assert torch.equal(mine.weight, theirs.weight)  # type: ignore[arg-type]


def test_safetensors_without_numbers_have_no_order(tmp_path: Path) -> None:
    """`down` and `up` of equal shapes would be swapped by the alphabet."""
    own = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    named = {
        f"{layer}.{kind}": torch.randn(2, 2)[: 1 if kind == "bias" else 2]
        for layer in ("up", "down")
        for kind in ("weight", "bias")
    }
    named = {k: (v.flatten() if k.endswith("bias") else v) for k, v in named.items()}
    save_file(named, tmp_path / "a.safetensors")
    with pytest.raises(RunError, match="safetensors file, which keeps no order"):
        taken(own, foreign.read(tmp_path / "a.safetensors"))
    assert taken(own, saved(named, tmp_path / "a.pt"))["0.weight"].equal(named["up.weight"])


def test_the_first_tensor_that_does_not_fit_is_named(tmp_path: Path) -> None:
    other = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5))
    words = r"^FILE does not fit encoder: expected 4\.weight of 2×27, found 4\.weight of 5×27; choose the settings"
    with pytest.raises(RunError, match=words):
        taken(net(), saved(other.state_dict(), tmp_path / "a.pt"))
    with pytest.raises(RunError, match=r"expected 4\.weight of 2×27, found nothing more"):
        taken(net(), saved(other[:2].state_dict(), tmp_path / "b.pt"))
    with pytest.raises(RunError, match=r"expected nothing more, found 5\.weight of 1×2"):
        taken(net(), saved(nn.Sequential(*net(), nn.Linear(2, 1)).state_dict(), tmp_path / "c.pt"))


def test_numbers_without_a_fraction_are_no_weights(tmp_path: Path) -> None:
    other = {k: v.to(torch.int8) for k, v in net().state_dict().items()}
    with pytest.raises(RunError, match=r"expected 0\.weight of 3×1×3×3, found 0\.weight of 3×1×3×3 \(torch\.int8\)"):
        taken(net(), saved(other, tmp_path / "a.pt"))


def test_of_two_sets_the_one_of_the_same_name_is_meant_or_neither(tmp_path: Path) -> None:
    a, b = net().state_dict(), net().state_dict()
    weights = saved({"encoder": a, "encoder_ema": b}, tmp_path / "a.pt")
    assert same(taken(net(), weights, "encoder"), a)
    with pytest.raises(RunError, match="several sets of weights that fit head, under 'encoder' and 'encoder_ema'"):
        taken(net(), weights, "head")
