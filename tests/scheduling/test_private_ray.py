from __future__ import annotations

from medalign.scheduling.private_ray import Watch, token


def test_ray_is_looked_at_every_two_seconds_and_not_in_every_round() -> None:
    looks: list[float] = []

    def look() -> str:
        looks.append(now)
        return "its raylet" if now >= 3.0 else ""

    watch = Watch(look)
    said = []
    for tenth in range(60):
        now = tenth / 10
        said.append(watch.dead_part(now))
    assert looks == [0.0, 2.0, 4.0]
    assert [tenth for tenth, part in enumerate(said) if part] == [40]
    assert said[40] == "its raylet"


def test_the_token_is_one_for_the_process_and_long_enough() -> None:
    assert token() == token()
    assert len(token()) >= 32
