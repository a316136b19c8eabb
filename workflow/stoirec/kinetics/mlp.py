"""Linear maps with tanh between: their outputs, and backpropagation written out.

Derivatives summed over all inputs (`pulled_back`), and by reaction and frame (`backward`, `fill`): a product of
matrices or two a layer, where automatic differentiation would do many small things besides, or go frame by frame. tanh
is taken from the logistic function, tanh z = 2 logistic(2 z) - 1, which vector units have several times sooner.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Product = tuple[Tensor, Tensor]  # (out, n) derivatives by what a map gives, and (in, n) what goes in

_times_slope = torch.ops.aten.sigmoid_backward.grad_input  # g x (1 - x) in one pass, in place of g


def shapes(n_in: int, n_hidden: int, n_layers: int, n_out: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of `n_layers` layers of units, input and output counted."""
    sizes = [n_in, *[n_hidden] * (n_layers - 2), n_out]
    found: dict[str, tuple[int, ...]] = {}
    for index, (size_in, size_out) in enumerate(zip(sizes, sizes[1:])):
        # as in an nn.Sequential with Tanh between: 0, 2, 4, ...
        found |= {f"{2 * index}_weight": (size_out, size_in), f"{2 * index}_bias": (size_out,)}
    return found


def values(parameters: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """The inputs (..., in, n), the logistic function at each hidden layer, and the outputs (..., out, n).

    Args:
        parameters: in order (weight, bias, weight, bias, ...), weights (..., out, in) and biases (..., out).
    """
    found = [x]
    for place, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2])):
        if place:  # the factors of tanh go into the small maps, not into what is between
            weight, bias = 2 * weight, bias - weight.sum(-1)
        is_hidden = 2 * place + 2 < len(parameters)
        if is_hidden:
            weight, bias = 2 * weight, 2 * bias
        x = (weight @ found[-1]).add_(bias.unsqueeze(-1))
        found.append(x.sigmoid_() if is_hidden else x)
    return found


def outputs(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """(..., out, n), the last of `values`."""
    return values(parameters, x)[-1]


def pulled_back(parameters: Sequence[Tensor], found: list[Tensor], on_output: Tensor) -> tuple[list[Tensor], Tensor]:
    """Derivatives by each parameter, of a number whose derivatives by the outputs (..., out, n) are `on_output`.

    And by what the first map gives, (..., its out, n).

    Args:
        found: by `values`, with one leading axis or none.
    """
    on_parameters: list[Tensor] = []
    product = torch.addmm if on_output.dim() == 2 else torch.baddbmm
    for place in reversed(range(len(parameters) // 2)):
        weight, x = parameters[2 * place], found[place]
        on_bias = on_output.sum(-1)
        if place:  # tanh = 2 x - 1, and its derivative 4 x (1 - x)
            on_weight = product(on_bias.unsqueeze(-1), on_output, x.mT, alpha=2, beta=-1)
            on_output = (4 * weight).mT @ on_output
            _times_slope(on_output, x, grad_input=on_output)
        else:
            on_weight = on_output @ x.mT
        on_parameters = [on_weight, on_bias, *on_parameters]
    return on_parameters, on_output


def backward(parameters: Sequence[Tensor], found: list[Tensor], on_output: Tensor) -> tuple[list[Product], Tensor]:
    """The derivatives of `pulled_back` before they are summed over inputs, and (in, n) those by the first input.

    Derivatives by a map's weights are products of those by its outputs with its inputs; by its biases, the former.

    Args:
        found: by `values`, which are written over.
        on_output: (out, n).
    """
    products: list[Product] = []
    for place in reversed(range(len(parameters) // 2)):
        x = found[place].mul_(2).sub_(1) if place else found[0]
        products = [(on_output, x), *products]
        on_output = parameters[2 * place].mT @ on_output
        if place:
            on_output = torch.ops.aten.tanh_backward(on_output, x)
    return products, on_output


def fill(by_parameters: Tensor, products: list[Product], inputs: tuple[int, int, int]) -> int:
    """Write derivatives by each parameter, one after the other, into (reactions, P, frames); returns how many.

    Args:
        products: by `backward`, of reactions x substrates x frames inputs, to be summed over substrates.
    """
    first, last = 0, 0
    for on_output, x in (tuple(part.unflatten(1, inputs) for part in product) for product in products):
        sizes = len(on_output), len(x)
        first, last = last, last + math.prod(sizes)
        of_weight = by_parameters[:, first:last].transpose(0, 1).unflatten(0, sizes)
        for place, factors in enumerate(zip(on_output.unsqueeze(1).unbind(3), x.unbind(2))):
            if place:
                of_weight.addcmul_(*factors)
            else:
                torch.mul(*factors, out=of_weight)
        first, last = last, last + sizes[0]
        torch.sum(on_output, 2, out=by_parameters[:, first:last].transpose(0, 1))
    return last
