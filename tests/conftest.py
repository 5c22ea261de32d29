"""Fixtures of all tests live in modules of their own."""

import os

from hypothesis import settings

# Before anything imports torch: its OpenMP threads otherwise spin while they wait, and starve the servers and
# workers that tests start beside them; and the suite's own processes already keep the cores busy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Errors are compared as they are, not as a terminal would colour them.
os.environ.pop("FORCE_COLOR", None)

# A slow machine is no fault of the code: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = [
    "tests.s3_servers",
    "tests.postgres",
    "tests.archive_setup",
    "tests.prefect_workers",
    "tests.torch_threads",
]
