"""Inception under the names of the published weights, from a file and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from latentscape.errors import ConfigError, RunError
from latentscape.metrics import inception
from latentscape.tasks import features


@pytest.fixture(scope="module")
def net() -> inception.Inception:
    torch.manual_seed(0)
    return inception.Inception().eval()


@pytest.fixture(scope="module")
def file(net: inception.Inception, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the published file has it: without BatchNorm's counters."""
    path = tmp_path_factory.mktemp("weights") / inception.FILE
    torch.save({k: v for k, v in net.state_dict().items() if "num_batches" not in k}, path)
    return path


def test_it_has_the_parts_of_the_published_net(net: inception.Inception) -> None:
    """Names and shapes of torchvision's `inception_v3` without the auxiliary classifier, with 1,008 classes."""
    state = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    layers = {k.removesuffix(".conv.weight") for k in state if k.endswith(".conv.weight")}
    assert len(layers) == 94
    assert len(state) == 94 * 6 + 2
    for name, shape in {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5d.branch_pool.conv.weight": (64, 288, 1, 1),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6c.branch7x7dbl_2.conv.weight": (160, 160, 7, 1),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch1x1.conv.weight": (320, 2048, 1, 1),
        "fc.weight": (1008, 2048),
    }.items():
        assert state[name] == shape
    assert sum(p.numel() for p in net.parameters()) == 23_834_568 + 8 * 2049  # eight classes more


def test_pooling_leaves_padding_out_and_the_last_block_takes_maxima(net: inception.Inception) -> None:
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        getattr(net, name).branch_pool.register_forward_pre_hook(lambda m, x, name=name: seen.__setitem__(name, x[0]))
        for name in ("Mixed_5c", "Mixed_7b", "Mixed_7c")
    ]
    before: dict[str, torch.Tensor] = {}
    hooks += [
        getattr(net, name).register_forward_pre_hook(lambda m, x, name=name: before.__setitem__(name, x[0]))
        for name in ("Mixed_5c", "Mixed_7b", "Mixed_7c")
    ]
    with torch.no_grad():
        net(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()
    for name in ("Mixed_5c", "Mixed_7b"):
        corner = before[name][:, :, :2, :2].mean((2, 3))
        torch.testing.assert_close(seen[name][:, :, 0, 0], corner)
    torch.testing.assert_close(seen["Mixed_7c"][:, :, 0, 0], before["Mixed_7c"][:, :, :2, :2].amax((2, 3)))


def test_a_file_s_weights_give_its_features_and_grey_is_colour_thrice(net: inception.Inception, file: Path) -> None:
    loaded = features.load_inception(file)
    x = torch.rand(2, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    inputs: list[torch.Tensor] = []
    hook = loaded.Conv2d_1a_3x3.register_forward_pre_hook(lambda m, x: inputs.append(x[0]))
    with torch.no_grad():
        found = loaded(x)
        torch.testing.assert_close(found, net(x.expand(-1, 3, -1, -1)))
    hook.remove()
    assert found.shape == (2, 2048)
    expected = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False).expand(-1, 3, -1, -1) * 2 - 1
    torch.testing.assert_close(inputs[0], expected)


def test_a_wrong_file_is_refused(net: inception.Inception, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pth"
    state = dict(net.state_dict())
    torch.save({"weight": torch.zeros(3)}, wrong)
    with pytest.raises(RunError, match=r"wrong\.pth does not hold FID's Inception: Conv2d_1a_3x3\.conv\.weight is mis"):
        features.load_inception(wrong)
    state["fc.weight"] = torch.zeros(1000, 2048)  # torchvision's own, for another set of classes
    torch.save(state, wrong)
    with pytest.raises(RunError, match=r"fc\.weight is \[1000, 2048\], and must be \[1008, 2048\]; give pytorch-fid"):
        features.load_inception(wrong)
    with pytest.raises(RunError, match="there is no file of weights"):
        features.load_inception(tmp_path / "nowhere.pth")


def test_weights_and_the_kind_belong_together() -> None:
    with pytest.raises(ConfigError, match=r"needs --inception-weights FILE, pytorch-fid's pt_inception-2015-12-05"):
        features.check("inception", None, labelled=True)
    with pytest.raises(ConfigError, match="goes with --features inception; give both"):
        features.check("random", "x.pth", labelled=True)
    with pytest.raises(ConfigError, match="must be one of auto, classifier, random, latents, inception, got 'vgg'"):
        features.check("vgg", None, labelled=True)
    assert features.check("auto", None, labelled=True) == "classifier"
    assert features.check("auto", None, labelled=False) == "random"
