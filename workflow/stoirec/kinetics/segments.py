"""The one door to torch-scatter: segment sums over sorted edges.

A torch-scatter built without nvcc cannot run on CUDA tensors; there PyTorch's own indexed sums take over.
"""

import logging
from functools import cache

import torch
import torch_scatter

_log = logging.getLogger(__name__)
_SUM = 0  # mode of torch.embedding_bag


@cache
def _has_cuda_kernels() -> bool:
    built = torch.ops.torch_scatter.cuda_version() != -1
    if not built:
        _log.info("torch-scatter was built without CUDA: using PyTorch's indexed sums on the GPU")
    return built


def segment_sum(values: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """Sum the rows of each segment.

    Args:
        values: (..., edges, n) rows sorted by segment.
        ptr: (segments + 1,) int64; segment j is rows ptr[j] : ptr[j + 1], possibly none.

    Returns:
        (..., segments, n).
    """
    if values.is_cuda and not _has_cuda_kernels():
        return native_segment_sum(values, ptr)
    return torch_scatter.segment_csr(values, ptr.expand(*values.shape[:-2], -1), reduce="sum")


def pointed_sum(
    values: torch.Tensor, index: torch.Tensor, ptr: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Sum over the edges of each segment of the rows that they point to: a sparse matrix times a dense one.

    Args:
        values: (rows, n).
        index: (edges,) the row of each; weight: (edges,) factors of the rows.
        ptr: (segments + 1,) as in `segment_sum`.

    Returns:
        (segments, n).
    """
    # nn.functional.embedding_bag, whose checks take longer than the sum
    return torch.embedding_bag(values, index, ptr, False, _SUM, False, weight, True)[0]


def native_segment_sum(values: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """`segment_sum` by PyTorch alone."""
    found = values.new_zeros(*values.shape[:-2], len(ptr) - 1, values.shape[-1])
    return found.index_add(-2, _segments(ptr, values.shape[-2]), values)


def _segments(ptr: torch.Tensor, n_edges: int) -> torch.Tensor:
    """(edges,) the segment of each: without a question to the GPU, which would have to be waited for."""
    return torch.searchsorted(ptr[1:], torch.arange(n_edges, device=ptr.device), right=True)
