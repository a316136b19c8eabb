"""Memory that training frees and takes again stays with the process."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of mallopt(3)


def keep_freed() -> None:
    """Let the C library keep freed memory of this process for what is allocated next.

    A refinement step takes and frees hundreds of MB. By default glibc returns every large piece to the kernel, which
    clears its pages anew each time: over a quarter of a refinement's processor time (docs/benchmarks.md). Numbers do
    not change. Where the C library has no mallopt, nothing does.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
