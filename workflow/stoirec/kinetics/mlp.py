"""Linear maps with tanh between: their outputs, and backpropagation written out.

One product of matrices a layer, for all reactions and frames, where automatic differentiation would go frame by frame.
tanh is taken from the logistic function, tanh z = 2 logistic(2 z) - 1, which vector units have several times sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


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


def outputs(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """(..., out, n) of inputs (..., in, n), with weights (..., out, in) and biases (..., out).

    Args:
        parameters: in order (weight, bias, weight, bias, ...).
    """
    maps = list(zip(parameters[::2], parameters[1::2]))
    for place, (weight, bias) in enumerate(maps):
        if place:  # the factors of tanh go into the small maps, not into what is between
            x, weight, bias = torch.sigmoid(x), 2 * weight, bias - weight.sum(-1)
        if place + 1 < len(maps):
            weight, bias = 2 * weight, 2 * bias
        x = weight @ x + bias[..., None]
    return x


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
