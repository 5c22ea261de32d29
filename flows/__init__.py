"""Orchestration with Prefect: `dub_archive` cuts a run into shards, `dub_shard` runs the steps of its videos."""
