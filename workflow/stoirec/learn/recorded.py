"""A step that a GPU repeats as it was recorded: launching its many small operations takes longer than they do."""

from collections.abc import Callable

import torch
from torch import Tensor

_FIRST = 3  # calls before the recording: libraries set themselves up in them


class Recorded:
    """A function of tensors that stay where they are, recorded as a CUDA graph.

    Args:
        function: reads and changes tensors in place, waits for nothing, and returns one, which the next call may
            write over.
    """

    def __init__(self, function: Callable[[], Tensor]) -> None:
        self.function = function
        self.forget()

    def forget(self) -> None:
        """Record it anew: something it does has changed."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Tensor | None = None
        self._n_calls = 0

    def __call__(self) -> Tensor:
        if self._n_calls < _FIRST:
            self._n_calls += 1
            return self._on_a_stream_of_its_own()
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):  # nothing runs yet
                self._result = self.function()
        self._graph.replay()
        return self._result

    def _on_a_stream_of_its_own(self) -> Tensor:
        """As a recording has to be; what the default stream does waits for it, and it for that."""
        stream, usual = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(usual)
        with torch.cuda.stream(stream):
            result = self.function()
        usual.wait_stream(stream)
        return result
