"""Requests take turns by kind; a place is never lost, whoever gives up."""

from __future__ import annotations

import asyncio
import random

from tidemill.kube.places import LINE, OTHERS_EVERY, Line, Places


async def test_a_long_line_does_not_keep_the_others_waiting() -> None:
    """Two thousand of one kind came first; each of another kind's five waits for one of them at most."""
    places, order = Places(1), list[str]()

    async def ask(line: str) -> None:
        LINE.set(Line(line))
        async with places.turn():
            order.append(line)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(ask("pipelines")) for _ in range(2000)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(ask(line)) for line in ("deployments",) * 5 + ("monitors",) * 5]
    await asyncio.gather(*tasks)
    soon = order[:18]
    assert (soon.count("deployments"), soon.count("monitors")) == (5, 5), soon


async def test_what_is_awaited_comes_first_and_the_rest_keeps_its_share() -> None:
    places, order = Places(1), list[bool]()

    async def ask(line: Line) -> None:
        LINE.set(line)
        async with places.turn():
            order.append(line.is_awaited)
            await asyncio.sleep(0)

    waiting = [Line("runs", is_awaited=False)] * 50 + [Line("pipelines"), Line("monitors")] * 10 * OTHERS_EVERY
    await asyncio.gather(*(asyncio.create_task(ask(line)) for line in waiting))
    soon = order[1 : 1 + 20 * OTHERS_EVERY]
    assert soon.count(False) == 20, "one in so many"
    assert max(map(len, "".join(".x"[one] for one in soon).split("."))) < OTHERS_EVERY
    assert len(order) == len(waiting)


async def test_no_more_than_the_places_at_a_time_and_none_is_lost() -> None:
    places, chance, now = Places(3), random.Random(1), [0, 0]

    async def ask(line: str) -> None:
        LINE.set(Line(line, is_awaited=chance.random() < 0.5))
        async with places.turn():
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
    assert (places._free, len(places._awaited) + len(places._others)) == (3, 0)


async def test_a_place_that_was_given_to_somebody_who_has_just_left_goes_on() -> None:
    places = Places(1)
    held = places.turn()
    await held.__aenter__()
    leaver = asyncio.create_task(places.turn().__aenter__())
    await asyncio.sleep(0)
    await held.__aexit__(None, None, None)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    async with asyncio.timeout(1), places.turn():
        pass
