"""Fixtures of all tests live in modules of their own."""

import os

# Before anything imports torch: its OpenMP threads otherwise spin while they wait, and starve the servers and
# workers that tests start beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

pytest_plugins = ["tests.archive", "tests.pool", "tests.postgres", "tests.s3"]
