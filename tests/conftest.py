"""Fixtures of all tests live in modules of their own."""

pytest_plugins = ["tests.archive", "tests.postgres", "tests.s3"]
