"""Threads started in a stretch share its processor, and have everything back afterwards."""

from __future__ import annotations

import os
import threading

import pytest

from percept_ros.runtime.one_processor import one_processor


def state(thread: int) -> tuple[set[int], int, int]:
    return os.sched_getaffinity(thread), os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority


def test_threads_share_one_processor_and_are_as_before_afterwards() -> None:
    before, end, inside = state(0), threading.Event(), []
    thread = threading.Thread(target=end.wait)
    earlier = threading.Thread(target=end.wait)
    earlier.start()
    try:
        with one_processor():
            thread.start()
            assert thread.native_id is not None
            assert earlier.native_id is not None
            inside = [state(0)[0], state(thread.native_id)[0]]
            assert state(earlier.native_id) == before
        assert inside[0] == inside[1]
        assert len(inside[0]) == 1
        assert inside[0] <= before[0]
        assert state(0) == state(thread.native_id) == state(earlier.native_id) == before
    finally:
        end.set()
        thread.join()
        earlier.join()


def test_everything_is_as_before_after_an_error() -> None:
    before = state(0)
    with pytest.raises(RuntimeError), one_processor():
        raise RuntimeError
    assert state(0) == before


def test_without_permission_for_priority_it_still_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = state(0), os.sched_setscheduler

    def refuse(thread: int, policy: int, param: os.sched_param) -> None:
        if policy == os.SCHED_FIFO:
            raise PermissionError
        real(thread, policy, param)

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with one_processor():
        assert len(os.sched_getaffinity(0)) == 1
    assert state(0) == before


def test_where_processors_cannot_be_chosen_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: int, processors: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    before = state(0)
    with one_processor():
        assert state(0) == before
    assert state(0) == before
