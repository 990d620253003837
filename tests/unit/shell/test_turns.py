"""Turns of the event loop: so many pass in each, in order, and nobody is forgotten."""

from __future__ import annotations

import asyncio

from trainmaster.shell.turns import Turns


async def passed(turns: Turns, callers: int, *, cancelled: int = 0) -> list[list[int]]:
    """Who passed in which turn of the event loop."""
    rounds: list[list[int]] = [[]]

    async def caller(number: int) -> None:
        await turns.mine()
        rounds[-1].append(number)

    tasks = [asyncio.create_task(caller(number)) for number in range(callers)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        rounds.append([])
        for task in tasks[callers - cancelled :]:
            task.cancel()
    return [each for each in rounds if each]


def test_all_pass_at_once_where_there_is_room() -> None:
    assert asyncio.run(passed(Turns(each=3), 3)) == [[0, 1, 2]]


def test_more_than_that_pass_in_order_over_several_turns() -> None:
    rounds = asyncio.run(passed(Turns(each=3), 10))
    assert [number for each in rounds for number in each] == list(range(10))
    assert max(map(len, rounds)) == 3


def test_one_that_gave_up_takes_nobody_s_turn() -> None:
    rounds = asyncio.run(passed(Turns(each=2), 9, cancelled=3))
    assert [number for each in rounds for number in each] == list(range(6))


def test_a_quiet_time_leaves_all_room() -> None:
    async def twice() -> list[list[list[int]]]:
        turns = Turns(each=2)
        first = await passed(turns, 3)
        for _ in range(5):
            await asyncio.sleep(0)
        return [first, await passed(turns, 2)]

    assert asyncio.run(twice())[1] == [[0, 1]]
