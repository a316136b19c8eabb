"""The one door to torch-scatter: segment sums over sorted edges, and their transpose.

A torch-scatter built without nvcc cannot run on CUDA tensors; there PyTorch's own indexed sums take over.
"""

import logging
from functools import cache

import torch
import torch_scatter

_log = logging.getLogger(__name__)


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


def segment_expand(values: torch.Tensor, ptr: torch.Tensor, n_edges: int) -> torch.Tensor:
    """Repeat each segment's row for every edge of it: the transpose of `segment_sum`.

    Args:
        values: (..., segments, n).
        ptr: (segments + 1,) as in `segment_sum`.
        n_edges: its last.

    Returns:
        (..., edges, n).
    """
    if values.is_cuda and not _has_cuda_kernels():
        return native_segment_expand(values, ptr, n_edges)
    return torch_scatter.gather_csr(values, ptr.expand(*values.shape[:-2], -1))


def native_segment_sum(values: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """`segment_sum` by PyTorch alone."""
    found = values.new_zeros(*values.shape[:-2], len(ptr) - 1, values.shape[-1])
    return found.index_add(-2, _segments(ptr, values.shape[-2]), values)


def native_segment_expand(values: torch.Tensor, ptr: torch.Tensor, n_edges: int) -> torch.Tensor:
    """`segment_expand` by PyTorch alone."""
    return values.index_select(-2, _segments(ptr, n_edges))


def _segments(ptr: torch.Tensor, n_edges: int) -> torch.Tensor:
    """(edges,) the segment of each: without a question to the GPU, which would have to be waited for."""
    return torch.searchsorted(ptr[1:], torch.arange(n_edges, device=ptr.device), right=True)
