"""The scheduler's decisions for arbitrary open items and shards."""

from hypothesis import given
from hypothesis import strategies as st

from db.read.run_progress import OpenItem
from flows.scheduler import LARGEST_SHARD, SHARDS_IN_FLIGHT, Shard, ShardState, next_shard_actions, shard_size

ITEMS = st.lists(
    st.builds(OpenItem, st.integers(1, 60), st.sampled_from([0, 0, 0, 1, 2])),
    max_size=40,
    unique_by=lambda i: i.id,
)
SHARDS = st.lists(
    st.builds(
        Shard,
        st.uuids().map(str),
        st.frozensets(st.integers(1, 60), max_size=5),
        st.sampled_from(list(ShardState)),
    ),
    max_size=12,
    unique_by=lambda shard: shard.flow_run,
)


@given(ITEMS, SHARDS, st.integers(1, 20))
def test_an_open_item_is_given_to_one_shard_and_only_if_no_live_shard_has_it(items, shards, size):
    actions = next_shard_actions(items, shards, is_active=True, size=size)
    started = [item for shard in actions.start for item in shard]
    held = {item for shard in shards if shard.state is not ShardState.VANISHED for item in shard.items}
    assert len(started) == len(set(started))
    assert set(started) <= {item.id for item in items} - held
    assert all(1 <= len(shard) <= size for shard in actions.start)


@given(ITEMS, SHARDS, st.integers(1, 20))
def test_the_number_of_shards_in_flight_is_bounded(items, shards, size):
    actions = next_shard_actions(items, shards, is_active=True, size=size)
    alive = [shard for shard in shards if shard.state is not ShardState.VANISHED]
    assert len(actions.start) <= max(0, SHARDS_IN_FLIGHT - len(alive))


@given(ITEMS, SHARDS, st.integers(1, 20))
def test_an_item_whose_worker_was_lost_gets_a_shard_of_its_own(items, shards, size):
    suspect = {item.id for item in items if item.deaths}
    for shard in next_shard_actions(items, shards, is_active=True, size=size).start:
        assert len(shard) == 1 or suspect.isdisjoint(shard)


@given(ITEMS, SHARDS)
def test_a_stopped_run_starts_no_shard_and_finishes_when_no_shard_is_working(items, shards):
    actions = next_shard_actions(items, shards, is_active=False, size=8)
    assert actions.start == ()
    assert set(actions.cancel) == {shard.flow_run for shard in shards if shard.state is ShardState.WAITING}
    assert actions.is_finished == all(shard.state is not ShardState.WORKING for shard in shards)


@given(ITEMS, SHARDS, st.booleans())
def test_vanished_shards_are_marked_as_crashed(items, shards, is_active):
    actions = next_shard_actions(items, shards, is_active=is_active, size=8)
    assert set(actions.mark_crashed) == {shard.flow_run for shard in shards if shard.state is ShardState.VANISHED}


@given(st.lists(st.integers(1, 60), min_size=1, unique=True), st.integers(1, 20))
def test_following_a_run_to_its_end_ends_every_item(ids, size):
    open_items, rounds = [OpenItem(each, 0) for each in ids], 0
    while not (actions := next_shard_actions(open_items, [], is_active=True, size=size)).is_finished:
        done = {item for shard in actions.start for item in shard}
        open_items = [item for item in open_items if item.id not in done]
        rounds += 1
        assert rounds <= len(ids)
    assert open_items == []


def test_shards_take_about_five_minutes_at_the_measured_pace():
    assert shard_size(10.0) == 30
    assert shard_size(600.0) == 1
    assert shard_size(0.01) == LARGEST_SHARD
    assert shard_size(None) == 16
