import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from tests.unit.engine.fakes import FakeClock

from tidemill.core.plan import Key
from tidemill.engine.queue import MAX_DELAY_SECONDS, WorkQueue

A, B = Key("K", "ns", "a"), Key("K", "ns", "b")


def queue() -> WorkQueue:
    return WorkQueue("test", FakeClock(), jitter=lambda: 1.0)


async def test_a_key_waits_only_once() -> None:
    q = queue()
    q.add(A)
    q.add(A)
    q.add(B)
    assert len(q) == 2
    assert [await q.get(), await q.get()] == [A, B]


async def test_a_key_added_while_it_is_worked_on_comes_back_and_never_runs_twice_at_once() -> None:
    q = queue()
    q.add(A)
    assert await q.get() == A
    q.add(A)
    q.add(A)
    assert len(q) == 0, "another worker must not get it now"
    q.done(A)
    assert len(q) == 1
    assert await q.get() == A
    q.done(A)
    assert len(q) == 0


async def test_get_waits_for_an_add() -> None:
    q = queue()
    waiting = [asyncio.create_task(q.get()) for _ in range(2)]
    await asyncio.sleep(0)
    q.add(A)
    q.add(B)
    assert {await w for w in waiting} == {A, B}


@pytest.mark.parametrize("delays", [(60, 2, 30), (2, 60, 30), (30, 60, 2), (2, 2, 60)])
async def test_the_earliest_of_several_delays_counts(delays: tuple[int, ...]) -> None:
    clock = FakeClock()
    q = WorkQueue("test", clock, jitter=lambda: 1.0)
    for seconds in delays:
        q.add_after(A, seconds)
    clock.advance(1.9)
    assert len(q) == 0
    clock.advance(0.2)
    assert len(q) == 1, "a later delay does not replace an earlier one"
    assert await q.get() == A
    q.done(A)
    clock.advance(3600)
    assert len(q) == 0, "one look serves all of them"


async def test_taking_a_key_clears_its_delay() -> None:
    clock = FakeClock()
    q = WorkQueue("test", clock)
    q.add_after(A, 2)
    q.add(A)
    assert await q.get() == A
    q.done(A)
    clock.advance(60)
    assert len(q) == 0, "the look that was due is the one that was taken"
    q.add(A)
    await q.get()
    q.add_after(A, 2)
    q.done(A)
    clock.advance(3)
    assert len(q) == 1, "a delay that was requested during the pass stays"


async def test_the_age_of_what_waits() -> None:
    clock = FakeClock()
    q = WorkQueue("test", clock)
    assert q.oldest_seconds() == 0
    q.add(A)
    clock.advance(7)
    q.add(B)
    assert q.oldest_seconds() == 7
    await q.get()
    assert q.oldest_seconds() == 0


async def test_backoff_doubles_up_to_five_minutes_and_forgets() -> None:
    q = queue()
    assert [q.add_rate_limited(A) for _ in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, MAX_DELAY_SECONDS]
    q.forget(A)
    assert q.add_rate_limited(A) == 1
    assert q.add_rate_limited(B, at_least=7) == 7
    q.shut_down()


async def test_jitter_stretches_the_delay_and_five_minutes_are_the_most_all_the_same() -> None:
    q = WorkQueue("test", FakeClock(), jitter=lambda: 1.2)
    assert q.add_rate_limited(A) == pytest.approx(1.2)
    assert q.add_rate_limited(A) == pytest.approx(2.4)
    assert q.failures(A) == 2
    assert q.failures(B) == 0
    assert [q.add_rate_limited(A) for _ in range(10)][-1] == MAX_DELAY_SECONDS == 300
    assert q.add_rate_limited(B, at_least=400) == 400, "who was told to wait longer waits longer"


async def test_delays_spread_by_a_fifth_to_both_sides() -> None:
    q = WorkQueue("test", FakeClock())
    delays = []
    for _ in range(200):
        delays.append(q.add_rate_limited(A))
        q.forget(A)
    assert 0.8 <= min(delays) < 0.9
    assert 1.1 < max(delays) <= 1.2


async def test_no_delay_is_at_once_and_a_short_one_is_not() -> None:
    clock = FakeClock()
    q = WorkQueue("test", clock)
    q.add_after(A, 0)
    assert (len(q), clock.timers) == (1, [])
    q.add_after(B, 0.5)
    assert len(q) == 1
    clock.advance(0.5)
    assert len(q) == 2


async def test_one_key_wakes_one_worker_and_who_has_gone_is_not_kept() -> None:
    q = queue()
    workers = [asyncio.create_task(q.get()) for _ in range(3)]
    await asyncio.sleep(0)
    workers[2].cancel()
    await asyncio.wait([workers[2]])
    q.add(A)
    assert [future.done() for future in q._signal].count(True) == 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [worker.done() for worker in workers].count(False) == 1
    q.shut_down()
    await asyncio.wait(workers)
    assert q._signal == set()


async def test_what_was_due_later_is_cancelled_with_the_queue_and_nothing_is_due_afterwards() -> None:
    clock = FakeClock()
    q = WorkQueue("test", clock)
    q.add_after(A, 5)
    q.shut_down()
    q.add_after(B, 5)
    assert [timer.cancelled for timer in clock.timers] == [True]


async def test_what_the_metrics_say() -> None:
    def said(name: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"name": "of-metrics"})

    clock = FakeClock()
    q = WorkQueue("of-metrics", clock, jitter=lambda: 1.0)
    q.add(A)
    q.add(A)
    assert (said("workqueue_depth"), said("workqueue_adds_total")) == (1, 1)
    clock.advance(3)
    await q.get()
    assert (said("workqueue_depth"), said("workqueue_queue_duration_seconds_sum")) == (0, 3)
    clock.advance(5)
    q.add(B)
    await q.get()
    clock.advance(2)
    assert said("workqueue_unfinished_work_seconds") == 7 + 2
    assert said("workqueue_longest_running_processor_seconds") == 7
    q.done(A)
    q.done(B)
    assert (said("workqueue_work_duration_seconds_sum"), said("workqueue_work_duration_seconds_count")) == (9, 2)
    assert said("workqueue_unfinished_work_seconds") == 0
    assert said("workqueue_longest_running_processor_seconds") == 0
    q.add_rate_limited(A)
    assert said("workqueue_retries_total") == 1


async def test_shut_down_hands_nothing_out_and_drains() -> None:
    q = queue()
    q.add(A)
    q.add(B)
    assert await q.get() == A
    idle = asyncio.create_task(q.get())
    assert await idle == B
    waiting = asyncio.create_task(q.get())
    await asyncio.sleep(0)
    q.shut_down()
    assert await waiting is None
    drained = asyncio.create_task(q.drained())
    q.done(A)
    await asyncio.sleep(0)
    assert not drained.done()
    q.done(B)
    await drained
    q.add(A)
    assert len(q) == 0


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("ad"), st.sampled_from([A, B])), max_size=40))
def test_no_wish_is_lost_and_no_key_runs_twice(steps: list[tuple[str, Key]]) -> None:
    async def run() -> None:
        q = queue()
        wanted: set[Key] = set()
        running: list[Key] = []
        for what, key in steps:
            if what == "a":
                q.add(key)
                wanted.add(key)
            else:
                while len(q):
                    got = await q.get()
                    assert got is not None
                    assert got not in running
                    running.append(got)
                    wanted.discard(got)
                if running:
                    q.done(running.pop(0))
        while running or len(q):
            while len(q):
                got = await q.get()
                assert got is not None
                running.append(got)
                wanted.discard(got)
            q.done(running.pop(0))
        assert not wanted

    asyncio.run(run())


async def test_a_queue_of_which_nothing_was_taken_is_drained() -> None:
    async with asyncio.timeout(5):
        await queue().drained()


async def test_a_closed_queue_takes_no_wish_for_later_or_now() -> None:
    clock = FakeClock()
    q = WorkQueue("test", clock)
    q.shut_down()
    q.add_after(A, 5)
    q.add_after(B, 0)
    assert (clock.timers, q._timers, len(q)) == ([], {}, 0)
