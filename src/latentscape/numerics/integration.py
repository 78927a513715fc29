"""Ordinary differential equations, solved in equal steps."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def runge_kutta(velocity: Callable[[Tensor, float], Tensor], x_NX: Tensor, steps: int) -> Tensor:
    """x(1) of dx/dt = velocity(x, t) from x(0), by the classical method of fourth order.

    The error falls with steps⁻⁴. Source: Kutta 1901; Hairer, Nørsett and Wanner 1993, table II.1.2. Fewer than one step
    raise `ValueError`.
    """
    if steps < 1:
        raise ValueError(f"an integral takes at least one step, got {steps}")
    h = 1 / steps
    for i in range(steps):
        t = i * h
        a = velocity(x_NX, t)
        b = velocity(x_NX + 0.5 * h * a, t + 0.5 * h)
        c = velocity(x_NX + 0.5 * h * b, t + 0.5 * h)
        d = velocity(x_NX + h * c, t + h)
        x_NX = x_NX + h / 6 * (a + 2 * b + 2 * c + d)
    return x_NX
