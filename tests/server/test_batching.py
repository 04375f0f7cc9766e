import threading

import pytest

from darkroom.engine.batching import FairQueue, QueueFull, Request


def request(number: int, job: str, *, key: str = "model", rows: int = 1, cost: int = 1) -> Request:
    return Request(number, job, key, rows, cost)


def filled(*requests: Request) -> FairQueue:
    queue = FairQueue()
    for each in requests:
        queue.put(each)
    return queue


def jobs_in_order(queue: FairQueue) -> str:
    order = ""
    while len(queue):
        taken = queue.take()
        assert taken is not None
        order += taken.job
    return order


def test_requests_of_one_job_run_in_their_order() -> None:
    queue = filled(*(request(n, "a") for n in range(5)))

    assert [queue.take().id for _ in range(5)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]


def test_a_job_with_many_requests_does_not_hold_up_one_that_comes_later() -> None:
    queue = filled(*(request(n, "a") for n in range(50)))
    queue.take()

    queue.put(request(50, "b"))

    assert "b" in jobs_in_order(queue)[:2]


def test_jobs_with_equal_requests_take_turns() -> None:
    queue = filled(*(request(n, job) for n, job in enumerate("aaaabbbbcccc")))

    assert jobs_in_order(queue) == "abcabcabcabc"


def test_a_job_with_large_requests_gets_the_same_share_of_bytes_not_of_turns() -> None:
    large = [request(n, "a", cost=100) for n in range(20)]
    small = [request(n + 20, "b", cost=10) for n in range(200)]
    queue = filled(*large, *small)

    served = {"a": 0, "b": 0}
    for _ in range(110):
        taken = queue.take()
        assert taken is not None
        served[taken.job] += taken.cost

    assert abs(served["a"] - served["b"]) <= 200


def test_a_batch_takes_one_of_each_job_in_turn() -> None:
    queue = filled(*(request(n, job) for n, job in enumerate("aaaaabbc")))
    first = queue.take()
    assert first is not None

    batch = queue.fill(first, max_rows=5, max_cost=100)

    assert sorted(each.job for each in batch) == ["a", "a", "b", "c"]


def test_a_batch_holds_equal_keys_only() -> None:
    queue = filled(request(1, "a"), request(2, "b", key="other"), request(3, "c"))
    first = queue.take()
    assert first is not None

    assert [each.id for each in queue.fill(first, 8, 100)] == [3]
    assert len(queue) == 1


@pytest.mark.parametrize(("limits", "expected"), [((3, 100), 2), ((8, 30), 2), ((1, 100), 0)])
def test_a_batch_keeps_to_its_rows_and_bytes(limits: tuple[int, int], expected: int) -> None:
    queue = filled(*(request(n, f"j{n}", cost=10) for n in range(6)))
    first = queue.take()
    assert first is not None

    assert len(queue.fill(first, *limits)) == expected


def test_several_lanes_share_what_waits() -> None:
    queue = filled(*(request(n, f"j{n}") for n in range(8)))
    first = queue.take()
    assert first is not None

    assert 1 + len(queue.fill(first, 8, 100, lanes=2)) == 4


def test_riding_in_a_batch_counts_against_a_job() -> None:
    queue = filled(request(1, "a"), *(request(n, "b") for n in range(2, 9)), request(9, "c", key="other"))
    first = queue.take()
    assert first is not None

    rode = queue.fill(first, max_rows=4, max_cost=100)

    assert [each.job for each in rode] == ["b", "b", "b"]
    assert jobs_in_order(queue)[0] == "c"


def test_removed_requests_are_not_taken() -> None:
    queue = filled(request(1, "a"), request(2, "a"), request(3, "b"))

    removed = queue.remove(lambda each: each.job == "a")

    assert [each.id for each in removed] == [1, 2]
    assert jobs_in_order(queue) == "b"


@pytest.mark.parametrize("lanes", [1, 2])
def test_thirteen_hundred_tiles_delay_a_small_picture_by_two_runs_at_most(lanes: int) -> None:
    queue = filled(*(request(n, "huge", cost=50_000) for n in range(1300)))
    first = queue.take()
    assert first is not None
    queue.fill(first, max_rows=8, max_cost=8 * 2**20, lanes=lanes)
    queue.put(request(2000, "small", key="another model", cost=1_000_000))

    runs = 0
    while first is not None and first.job != "small":
        first = queue.take()
        assert first is not None
        queue.fill(first, max_rows=8, max_cost=8 * 2**20, lanes=lanes)
        runs += 1

    assert runs <= 2
    assert len(queue) > 1200


def test_tiles_of_one_job_share_runs() -> None:
    queue = filled(*(request(n, "one") for n in range(20)))
    first = queue.take()
    assert first is not None
    assert [each.id for each in queue.fill(first, max_rows=8, max_cost=100)] == list(range(1, 8))


@pytest.mark.parametrize(("limits", "fits"), [((3, 1000), 3), ((100, 25), 2)], ids=["number", "bytes"])
def test_a_full_queue_takes_no_more_until_something_left(limits: tuple[int, int], fits: int) -> None:
    queue = FairQueue(*limits)
    for number in range(fits):
        queue.put(request(number, "a", cost=10))
    with pytest.raises(QueueFull):
        queue.put(request(9, "b", cost=10))
    assert queue.cost == 10 * fits

    queue.take()
    queue.put(request(9, "b", cost=10))
    queue.remove(lambda each: each.job == "b")
    queue.put(request(10, "c", cost=10))
    assert queue.cost == 10 * fits


def test_a_request_over_the_whole_limit_may_wait_alone() -> None:
    queue = FairQueue(most_cost=10)
    queue.put(request(1, "a", cost=50))
    with pytest.raises(QueueFull):
        queue.put(request(2, "a", cost=1))


def test_a_waiting_lane_wakes_for_a_request_and_for_the_end() -> None:
    queue = FairQueue()
    taken: list[int | None] = []

    def lane() -> None:
        while True:
            each = queue.take()
            taken.append(each.id if each else None)
            if each is None:
                return

    threads = [threading.Thread(target=lane) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        queue.put(request(number, f"j{number % 4}"))
    while len(queue):
        pass
    queue.close()
    for thread in threads:
        thread.join(timeout=30)

    assert sorted(each for each in taken if each is not None) == list(range(20))
    assert taken.count(None) == 3
