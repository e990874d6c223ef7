"""Admission: so many run, as many wait, the others go."""

from iii_trio.builtins.http._admission import Admission, Admitted


def test_some_run_as_many_wait_and_the_others_are_refused() -> None:
    admission: Admission[int] = Admission(2)
    found = [admission.admit(item) for item in range(5)]
    assert found == [
        Admitted.RUN,
        Admitted.RUN,
        Admitted.WAIT,
        Admitted.WAIT,
        Admitted.REFUSED,
    ]
    assert (admission.running, admission.waiting) == (2, 2)


def test_who_waits_longest_is_next() -> None:
    admission: Admission[int] = Admission(1)
    for item in range(2):
        admission.admit(item)
    assert list(admission.ready()) == []
    admission.leave()
    assert list(admission.ready()) == [1]
    assert (admission.running, admission.waiting) == (1, 0)


def test_nobody_overtakes_who_waits() -> None:
    admission: Admission[int] = Admission(2)
    for item in range(3):
        admission.admit(item)
    admission.leave()
    assert admission.admit(3) is Admitted.WAIT
    assert list(admission.ready()) == [2]


def test_who_stops_waiting_is_forgotten() -> None:
    admission: Admission[int] = Admission(1)
    for item in range(2):
        admission.admit(item)
    assert admission.forget(1)
    assert not admission.forget(1)
    assert not admission.forget(0)
    admission.leave()
    assert list(admission.ready()) == []
    assert admission.running == 0


def test_a_larger_limit_makes_room() -> None:
    admission: Admission[int] = Admission(1)
    for item in range(2):
        admission.admit(item)
    admission.limit = 2
    assert list(admission.ready()) == [1]


def test_a_smaller_limit_waits_until_enough_have_left() -> None:
    admission: Admission[int] = Admission(2)
    for item in range(3):
        admission.admit(item)
    admission.limit = 1
    admission.leave()
    assert list(admission.ready()) == []
    admission.leave()
    assert list(admission.ready()) == [2]
