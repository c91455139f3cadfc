"""Requests take turns by kind; a seat is never lost, whoever gives up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from tidemill.kube.request_priority import FLOW, OWN_SHARE, Flow, RequestPriority


@pytest.mark.slow
async def test_a_long_line_does_not_keep_the_others_waiting() -> None:
    """Two thousand of one kind came first; each of another kind's five waits for one of them at most."""
    seats, order = RequestPriority(1), list[str]()

    async def ask(line: str) -> None:
        FLOW.set(Flow(line))
        async with seats.seat():
            order.append(line)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(ask("pipelines")) for _ in range(2000)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(ask(line)) for line in ("deployments",) * 5 + ("monitors",) * 5]
    await asyncio.gather(*tasks)
    soon = order[:18]
    assert (soon.count("deployments"), soon.count("monitors")) == (5, 5), soon


@pytest.mark.slow
async def test_objects_of_users_come_first_and_our_own_keep_their_share() -> None:
    """One seat of so many is for our own all the time; when nobody else is there, all are."""
    seats, held, most = RequestPriority(OWN_SHARE), Counter[bool](), Counter[bool]()
    begun = list[bool]()

    async def ask(line: Flow) -> None:
        FLOW.set(line)
        async with seats.seat():
            begun.append(line.is_own)
            held[line.is_own] += 1
            most[line.is_own] = max(most[line.is_own], held[line.is_own])
            if len(begun) == 400:
                assert begun.count(True) == pytest.approx(400 / OWN_SHARE, abs=2)
                assert most[True] == 1
            await asyncio.sleep(0)
            held[line.is_own] -= 1

    kinds = [Flow("pipelines"), Flow("monitors")]
    tasks = [asyncio.create_task(ask(kinds[n % 2])) for n in range(800)]
    tasks += [asyncio.create_task(ask(Flow("runs", is_own=True))) for _ in range(800)]
    await asyncio.gather(*tasks)
    assert most[True] == OWN_SHARE, "afterwards they have all seats"


async def test_our_own_have_their_share_alone_while_one_of_the_others_is_answered() -> None:
    seats, held = RequestPriority(2 * OWN_SHARE), list[int]()
    user = seats.seat()
    await user.__aenter__()

    async def ask(number: int) -> None:
        FLOW.set(Flow("runs", is_own=True))
        async with seats.seat():
            held.append(number)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(ask(n)) for n in range(5)]
    await asyncio.sleep(0.01)
    assert held == [0, 1]
    await user.__aexit__(None, None, None)
    await asyncio.sleep(0.01)
    assert held == [0, 1, 2, 3, 4]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_more_than_the_seats_at_a_time_and_none_is_lost() -> None:
    seats, chance, now = RequestPriority(3), random.Random(1), [0, 0]

    async def ask(line: str) -> None:
        FLOW.set(Flow(line, is_own=chance.random() < 0.5))
        async with seats.seat():
            now[0] += 1
            now[1] = max(now)
            try:
                await asyncio.sleep(0)
            finally:
                now[0] -= 1

    tasks = [asyncio.create_task(ask(chance.choice("abc"))) for _ in range(200)]
    for task in chance.sample(tasks, 80):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert now == [0, 3]
    assert (seats._free, seats._flows, seats._held) == (3, {False: {}, True: {}}, {False: 0, True: 0})


async def test_a_seat_that_was_given_to_somebody_who_has_just_left_goes_on() -> None:
    seats = RequestPriority(1)
    held = seats.seat()
    await held.__aenter__()
    leaver = asyncio.create_task(seats.seat().__aenter__())
    await asyncio.sleep(0)
    await held.__aexit__(None, None, None)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    async with asyncio.timeout(1), seats.seat():
        pass
