"""Fixtures of all tests live in modules of their own."""

pytest_plugins = ["tests.postgres", "tests.s3"]
