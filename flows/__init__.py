"""What runs when: `dub_archive` cuts a run into shards, `dub_shard` drives videos through their steps."""
