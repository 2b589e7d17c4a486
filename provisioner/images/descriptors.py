"""Room for many clients at once: the usual soft limit of 1024 descriptors would stop a boot storm."""

import resource


def allow_descriptors(wanted: int) -> None:
    """Raise this process's soft limit to ``wanted``, as far as the hard limit lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
