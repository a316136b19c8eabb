"""Memory that training frees and takes again stays with the process."""

import platform
import subprocess
import sys

import pytest

# the pages that the kernel hands out while 64 MB are taken and freed ten times,
# once aligned pieces have found their places
FAULTS = """
import resource, torch
from stoirec.learn.memory import keep_freed
{}
def take():
    torch.zeros(8_000_000, dtype=torch.float64)
for _ in range(20):
    take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(first: str) -> int:
    return int(
        subprocess.run([sys.executable, "-c", FAULTS.format(first)], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")
def test_freed_memory_is_taken_again_without_new_pages():
    assert page_faults("keep_freed()") < page_faults("") / 10
