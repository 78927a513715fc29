"""Labels as codes, and nets that read them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.config import DataShape
from latentscape.errors import AbilityError, ConfigError
from latentscape.nets import conditioning
from latentscape.nets.build import NetSettings
from latentscape.nets.conditioning import ConditionalDecoder, ConditionalEncoder, label_code

NETS = [((1, 8, 8), "mlp"), ((1, 8, 8), "conv"), ((3, 9, 12), "auto"), ((5,), "auto")]


def labels(*y: int) -> Tensor:
    return torch.tensor(y)


@pytest.mark.parametrize(
    ("classes", "code", "size"),
    [(2, "auto", 1), (3, "auto", 3), (10, "auto", 10), (1, "auto", 1), (10, "number", 1), (2, "one-hot", 2)],
)
def test_a_code_has_the_size_that_is_said(classes: int, code: conditioning.Code, size: int) -> None:
    assert conditioning.code_size(classes, code) == size
    made = label_code(torch.arange(classes), classes, code)
    assert made.shape == (classes, size)
    assert made.dtype == torch.float32


def test_codes_have_the_stated_values() -> None:
    assert label_code(labels(0, 1, -1), 2, "auto").tolist() == [[0], [1], [0.5]]
    assert label_code(labels(0, 1, 4, -1), 5, "number").tolist() == [[0], [0.25], [1], [0.5]]
    assert label_code(labels(1, -1, 2), 3, "auto").tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert label_code(labels(1, 0), 2, "one-hot").tolist() == [[0, 1], [1, 0]]
    assert label_code(labels(0), 1, "number").tolist() == [[0]]
    assert label_code(labels(), 3, "one-hot").shape == (0, 3)


def test_a_model_without_labels_says_what_it_needs() -> None:
    with pytest.raises(AbilityError, match=r"^this model needs a label for each example; give [^\n]+$"):
        label_code(None, 3, "auto")


@pytest.mark.parametrize("y", [3, -2])
@pytest.mark.parametrize("code", ["number", "one-hot"])
def test_labels_of_no_class_are_refused(y: int, code: conditioning.Code) -> None:
    with pytest.raises(ConfigError, match=f"one of the model's 3 classes, 0 to 2; got {y}$"):
        label_code(labels(0, y), 3, code)


def test_a_code_compiles_without_a_break() -> None:
    compiled = torch.compile(lambda y: label_code(y, 3, "auto"), fullgraph=True, backend="eager")
    assert compiled(labels(2, 0)).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(("dims", "net"), NETS)
@pytest.mark.parametrize("size", [1, 4])
def test_encoder_and_decoder_read_every_number_of_the_code(dims: tuple[int, ...], net: str, size: int) -> None:
    torch.manual_seed(0)
    shape, choice = DataShape(dims), NetSettings(net=net, hidden=(32, 16), width=4)
    encoder = ConditionalEncoder(shape, 3, choice, size).eval()
    decoder = ConditionalDecoder(3, shape, choice, size).eval()
    x_BX, c_BK = torch.rand(2, *dims), torch.rand(2, size, requires_grad=True)
    z_BL = encoder(x_BX, c_BK)
    assert z_BL.shape == (2, 3)
    assert (torch.autograd.grad(z_BL.square().sum(), c_BK)[0] != 0).all()
    out_BX = decoder(torch.randn(2, 3), c_BK)
    assert out_BX.shape == x_BX.shape
    assert (torch.autograd.grad(out_BX.square().sum(), c_BK)[0] != 0).all()


def test_one_example_s_label_is_no_other_s() -> None:
    torch.manual_seed(0)
    encoder = ConditionalEncoder(DataShape((1, 8, 8)), 3, NetSettings(width=2), 2).eval()
    x_BX = torch.rand(2, 1, 8, 8)
    one, other = encoder(x_BX, torch.eye(2)), encoder(x_BX, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert torch.equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


def test_b8_has_the_specified_sizes() -> None:
    shape, choice = DataShape((2,)), NetSettings(hidden=(32, 64))
    nets = (ConditionalEncoder(shape, 1, choice, 1), ConditionalDecoder(1, shape, choice, 1))
    sizes = [[(m.in_features, m.out_features) for m in n.modules() if isinstance(m, torch.nn.Linear)] for n in nets]
    assert sizes == [[(3, 32), (32, 64), (64, 1)], [(2, 64), (64, 32), (32, 2)]]
