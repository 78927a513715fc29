"""Size of an encoder's Jacobian ∂z/∂x, differentiable in the encoder's parameters."""

from __future__ import annotations

import torch
from torch import Tensor


def one_layer_norm(weight_LD: Tensor, slope_BL: Tensor) -> Tensor:
    """‖∂z/∂x‖²_F of z = f(W·x + b), B, exactly: Σ_j f′(h_j)²·‖W_j‖² (Rifai et al. 2011, eq. 6).

    `slope_BL` is f′ at each pre-activation, ones for a linear code.
    """
    return slope_BL.square() @ weight_LD.square().sum(1)


def hutchinson_norm(z_BL: Tensor, x_BX: Tensor, probes_PBL: Tensor) -> Tensor:
    """An unbiased estimate of ‖∂z/∂x‖²_F per example, B: the mean over probes v of ‖vᵀ ∂z/∂x‖² (Hutchinson 1989).

    `z_BL` was computed from `x_BX`, which requires gradients; probes are random signs or standard normal numbers. With
    BatchNorm in training an example moves the others' statistics, and their small share is counted too.
    """
    norms = []
    for v_BL in probes_PBL:
        (row_BX,) = torch.autograd.grad(z_BL, x_BX, v_BL, create_graph=True)
        norms.append(row_BX.flatten(1).square().sum(1))
    return torch.stack(norms).mean(0)
