"""Which samples a step shows, in which order, and what is read ahead of it."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia_jobs.samples import batches
from forgia_jobs.samples.batches import Drawn, Shuffled
from forgia_jobs.samples.feed import Feed
from forgia_jobs.samples.permutation import BLOCK, Permutation


def shown(order: Shuffled, epoch: int, step: int, *, ranks: int, accumulate: int) -> list[int]:
    """What all ranks show in a step, micro-batch by micro-batch."""
    rows = order.rows(epoch, step)
    found = []
    for rank in range(ranks):
        mine = rows[batches.slice_of_rank(len(rows), rank=rank, world_size=ranks)]
        found += [row for part in torch.tensor_split(mine, accumulate) for row in part.tolist()]
    return found


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 300),
    batch_size=st.integers(1, 70),
    ranks=st.integers(1, 9),
    accumulate=st.integers(1, 5),
    epoch=st.integers(0, 50),
    long_list=st.booleans(),
)
def test_every_sample_is_shown_once_an_epoch_at_any_world_size_and_accumulation(
    rows: int, batch_size: int, ranks: int, accumulate: int, epoch: int, long_list: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if long_list:
            patch.setattr(batches, "LONGEST_LIST", 0)
        order = Shuffled(rows, batch_size=batch_size, seed=7)
        steps = range(batches.steps_per_epoch(rows, batch_size))
        found = [row for step in steps for row in shown(order, epoch, step, ranks=ranks, accumulate=accumulate)]
        alone = [row for step in steps for row in shown(order, epoch, step, ranks=1, accumulate=1)]
        assert sorted(found) == list(range(rows))
        assert found == alone


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 200), batch_size=st.integers(1, 40), at=st.integers(0, 10_000), long_list=st.booleans())
def test_going_on_at_any_step_shows_the_very_samples_that_come_next(
    rows: int, batch_size: int, at: int, long_list: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if long_list:
            patch.setattr(batches, "LONGEST_LIST", 0)
        steps = batches.steps_per_epoch(rows, batch_size)
        places = [divmod(number, steps) for number in range(3 * steps)]
        order = Shuffled(rows, batch_size=batch_size, seed=3)
        whole = [order.rows(*place).tolist() for place in places]
        again = Shuffled(rows, batch_size=batch_size, seed=3)
        begin = at % len(places)
        assert [again.rows(*place).tolist() for place in places[begin:]] == whole[begin:]


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 3000), seed=st.integers(0, 2**63 - 1))
def test_an_order_that_is_worked_out_has_every_sample_once(rows: int, seed: int) -> None:
    assert sorted(Permutation(rows, seed=seed)[0:rows].tolist()) == list(range(rows))


def test_a_long_order_is_worked_out_in_parts_that_fit_together() -> None:
    rows = 2 * BLOCK + 100
    whole = Permutation(rows, seed=1)[0:rows]
    assert torch.equal(whole.sort().values, torch.arange(rows))
    for start, stop in ((BLOCK - 3, BLOCK + 5), (0, 7), (rows - 5, rows + 9), (5, 5), (10, 2 * BLOCK + 3)):
        assert torch.equal(Permutation(rows, seed=1)[start:stop], whole[start:stop])


def test_a_long_order_looks_like_chance() -> None:
    rows = 40_000
    orders = [Permutation(rows, seed=seed)[0:rows].double() for seed in range(5)]
    for order in orders:
        neighbours = torch.corrcoef(torch.stack([order[:-1], order[1:]]))[0, 1]
        places = torch.corrcoef(torch.stack([order, torch.arange(rows).double()]))[0, 1]
        assert abs(neighbours) < 0.03 > abs(places)  # six standard deviations of chance
        in_tenths = torch.histc(order[: rows // 4], bins=10, min=0, max=rows)
        assert (in_tenths - 1000).abs().max() < 180
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(orders))


def test_a_hundred_million_samples_have_an_order_at_once() -> None:
    order = batches.epoch_order(10**8, seed=1, epoch=2)
    assert isinstance(order, Permutation)
    assert len(order) == 10**8
    last = order[10**8 - 256 : 10**8]
    assert len(last.unique()) == 256
    assert torch.equal(last, batches.epoch_order(10**8, seed=1, epoch=2)[10**8 - 256 : 10**8])
    assert not torch.equal(last, batches.epoch_order(10**8, seed=1, epoch=3)[10**8 - 256 : 10**8])


def test_samples_that_are_drawn_come_as_often_as_their_probability_says() -> None:
    order = Drawn(500, batch_size=50, seed=5)
    steps = [order.rows(epoch, step) for epoch in range(4) for step in range(50)]
    counts = torch.bincount(torch.cat(steps), minlength=500)
    assert abs(float(counts.double().mean()) - 20) < 1.0
    assert len({len(rows) for rows in steps}) > 5
    assert all(len(rows.unique()) == len(rows) for rows in steps)
    assert torch.equal(steps[57], Drawn(500, batch_size=50, seed=5).rows(1, 7))


@pytest.mark.parametrize("is_ahead", [False, True])
def test_what_is_taken_does_not_depend_on_who_reads_it(is_ahead: bool) -> None:
    read: list[int] = []
    source = Feed(lambda number: read.append(number) or number * 10, is_ahead=is_ahead)
    assert [source.take(number, last=4) for number in range(3)] == [0, 10, 20]
    assert source.take(7, last=9) == 70  # after a jump, as to a checkpoint
    assert [source.take(number, last=9) for number in (8, 9)] == [80, 90]
    source.close()
    assert [number for number in sorted(set(read)) if number != 3] == [0, 1, 2, 7, 8, 9]
    assert not any(thread.name.startswith("forgia-feed") for thread in threading.enumerate())


def test_the_next_number_is_read_while_this_one_is_worked_on() -> None:
    begun = threading.Event()

    def read(number: int) -> int:
        if number == 1:
            begun.set()
        return number

    source = Feed(read, is_ahead=True)
    source.take(0, last=1)
    assert begun.wait(30)
    source.close()


def test_a_failure_ahead_is_raised_where_its_step_is_wanted_and_the_thread_ends() -> None:
    def read(number: int) -> int:
        if number == 2:
            raise OSError("the disk has gone")
        return number

    source = Feed(read, is_ahead=True)
    assert [source.take(number, last=5) for number in (0, 1)] == [0, 1]
    with pytest.raises(OSError, match="the disk has gone"):
        source.take(2, last=5)
    source.close()
    assert not any(thread.name.startswith("forgia-feed") for thread in threading.enumerate())


def test_nothing_is_read_beyond_the_last_number_or_without_being_asked() -> None:
    read: list[int] = []
    for is_ahead in (True, False):
        source = Feed(read.append, is_ahead=is_ahead)
        source.take(3, last=3)
        source.close()
    assert read == [3, 3]


def test_closing_waits_for_what_is_being_read() -> None:
    begun, release = threading.Event(), threading.Event()
    ended: list[int] = []

    def read(number: int) -> int:
        if number:
            begun.set()
            release.wait(30)
            ended.append(number)
        return number

    source = Feed(read, is_ahead=True)
    source.take(0, last=1)
    assert begun.wait(30)
    with ThreadPoolExecutor(1) as other:
        closing = other.submit(source.close)
        assert not closing.done()
        release.set()
        closing.result(30)
    assert ended == [1]
