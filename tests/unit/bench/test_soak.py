"""What the soak test calls growth."""

from hack.bench import soak


def test_growth_is_what_comes_after_the_warm_up() -> None:
    found = soak.Found(memory=[(float(at), 50.0 + min(at, 100) / 10) for at in range(600)])
    *_, growth = soak.rows(found, 10)
    assert (growth.value, growth.met) == (0.0, True)
    leaking = soak.Found(memory=[(float(at), 50.0 + at / 60) for at in range(600)])
    *_, growth = soak.rows(leaking, 10)
    assert 6 < growth.value < 8
    assert growth.met is False


def test_a_wrong_status_is_a_missed_goal() -> None:
    found = soak.Found(memory=[(float(at), 50.0) for at in range(60)])
    found.wrong["500 instead of 400"] += 1
    assert [row.met for row in soak.rows(found, 1)] == [None, False, None, None, True]
