"""The one door to torch-scatter: segment sums over sorted edges, and their transpose.

A torch-scatter built without nvcc cannot run on CUDA tensors; there PyTorch's own segment_reduce takes over.
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
        _log.info("torch-scatter was built without CUDA: using torch.segment_reduce on the GPU")
    return built


def segment_sum(values: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """Sum the rows of each segment.

    Args:
        values: (edges, ...) rows sorted by segment.
        ptr: (segments + 1,) int64; segment j is rows ptr[j] : ptr[j + 1], possibly none.

    Returns:
        (segments, ...).
    """
    if values.is_cuda and not _has_cuda_kernels():
        return native_segment_sum(values, ptr)
    return torch_scatter.segment_csr(values, ptr, reduce="sum")


def segment_expand(values: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """Repeat each segment's row for every edge of it: the transpose of `segment_sum`.

    Args:
        values: (segments, ...).
        ptr: (segments + 1,) as in `segment_sum`.

    Returns:
        (edges, ...).
    """
    if values.is_cuda and not _has_cuda_kernels():
        return native_segment_expand(values, ptr)
    return torch_scatter.gather_csr(values, ptr)


def native_segment_sum(values: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """`segment_sum` by PyTorch alone."""
    return torch.segment_reduce(values, "sum", offsets=ptr, axis=0, initial=0)


def native_segment_expand(values: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """`segment_expand` by PyTorch alone."""
    return torch.repeat_interleave(values, ptr.diff(), dim=0)
