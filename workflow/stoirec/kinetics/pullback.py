"""Derivatives the other way round: from those of a number by a result to those by what the result depends on."""

from collections.abc import Callable

import torch
from torch import Tensor


def automatic(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """function(*inputs), and its pullback by automatic differentiation, to be called once.

    The pullback takes the derivatives of a number by the result to those by each input; zeros, where it does not
    depend on one.
    """
    with torch.enable_grad():
        leaves = [each.detach().requires_grad_() for each in inputs]
        result = function(*leaves)

    def pullback(on_result: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(result, leaves, on_result, materialize_grads=True))

    return result.detach(), pullback
