"""Linear maps with tanh between: their outputs, and backpropagation written out.

Derivatives summed over all inputs (`pulled_back`), and by reaction and frame (`backward`): a product of matrices or
two a layer, where automatic differentiation would do many small things besides, or go frame by frame. tanh is taken
from the logistic function, tanh z = 2 logistic(2 z) - 1, which vector units have several times sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_times_slope = torch.ops.aten.sigmoid_backward.grad_input  # g x (1 - x) in one pass, in place of g


@dataclass(frozen=True)
class Layer:
    """A Linear map, with what went in and came out.

    Attributes:
        weight: (out, in).
        input, output: (..., in), (..., out); inputs of all but the first layer are tanh of the output before.
    """

    weight: Tensor
    input: Tensor
    output: Tensor


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


def forward(parameters: Sequence[Tensor], x: Tensor) -> list[Layer]:
    """Forward through Linear maps with tanh between, of `parameters` in order (weight, bias, weight, bias, ...).

    For `backward`, not for automatic differentiation.
    """
    layers: list[Layer] = []
    for weight, bias in zip(parameters[::2], parameters[1::2]):
        x = torch.sigmoid(2 * layers[-1].output).mul_(2).sub_(1) if layers else x
        layers.append(Layer(weight, x, nn.functional.linear(x, weight, bias)))
    return layers


def backward(layers: list[Layer], on_output: Tensor) -> tuple[list[Tensor], Tensor]:
    """Derivatives by each parameter, and by the first input.

    Args:
        on_output: (reactions, frames, [substrates,] out), by the last layer's output.

    Returns:
        (reactions, frames, numbers) of each parameter in order, summed over substrates if there are any; and
        (reactions, frames, [substrates,] in).
    """
    found: list[Tensor] = []
    for layer in reversed(layers):
        if on_output.dim() == 4:
            on_weight, on_bias = on_output.transpose(-1, -2) @ layer.input, on_output.sum(-2)
        else:
            on_weight, on_bias = on_output[..., None] * layer.input[..., None, :], on_output
        found = [on_weight.flatten(2), on_bias, *found]
        on_output = on_output @ layer.weight
        if layer is not layers[0]:
            on_output = on_output * (1 - layer.input.square())
    return found, on_output
