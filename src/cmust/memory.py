"""What the C library does with memory that is freed. Without dependencies, so that a program can call it first."""

import ctypes
import os

# Of malloc.h: when the top of the heap goes back to the system, and from which size on a block never was of the heap.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Blocks of up to 32 MiB that are freed stay with the process, up to 2 GiB; only for glibc, this process long.

    A training step frees and takes hundreds of megabytes. Given back to the system in between, every page of them is
    made and zeroed anew. Larger blocks, such as those of a city's series, are given back as before.

    Returns:
        Whether that was set: not where the environment (``MALLOC_...``) says something of its own.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        setting = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    return bool(setting(_MMAP_THRESHOLD, 32 << 20)) and bool(setting(_TRIM_THRESHOLD, 2**31 - 1))
