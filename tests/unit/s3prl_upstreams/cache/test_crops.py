"""Cuts at fixed places are evenly spaced and stay inside."""

from __future__ import annotations

import random

from s3prl_upstreams.cache.crops import Places, stand_in, where_crops_are_drawn


def test_places_are_evenly_spaced():
    places = Places(3)
    assert {places.randint(0, 101) for _ in range(100)} == {0, 50, 101}
    assert Places(1).randint(10, 20) == 15
    places.only = 2
    assert places.randint(0, 101) == 101


def test_everything_else_of_random_is_there():
    places = Places(2)
    assert places.choice is random.choice
    assert stand_in("random", places) is places
    assert stand_in("randint", places)(0, 0) == 0


def test_tasks_that_do_not_cut_are_left_alone():
    assert where_crops_are_drawn("asr") is None


def test_none_fixed_draws_as_the_task_does():
    places = Places(0)
    random.seed(3)
    drawn = [places.randint(0, 1000) for _ in range(5)]
    random.seed(3)
    assert drawn == [random.randint(0, 1000) for _ in range(5)]
    assert places.draws == 5
