"""Linear maps with Tanh between, as in the model: forward, and backpropagation written out.

One product of matrices a layer, for all reactions and frames, where automatic differentiation would go frame by frame.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


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


def forward(parameters: dict[str, Tensor], x: Tensor) -> list[Layer]:
    """Forward through Linear maps with Tanh between, of `parameters` in order (weight, bias, weight, bias, ...)."""
    values = list(parameters.values())
    layers: list[Layer] = []
    for weight, bias in zip(values[::2], values[1::2]):
        x = torch.tanh(layers[-1].output) if layers else x
        layers.append(Layer(weight, x, x @ weight.T + bias))
    return layers


def backward(layers: list[Layer], on_output: Tensor) -> tuple[list[Tensor], Tensor]:
    """Derivatives by each parameter, (reactions, frames, numbers) in order, summed over substrates if there are any; and by the first input.

    `on_output`: (reactions, frames, [substrates,] out), by the last layer's output.
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
