"""Which requests run next, and which of them run together: deficit round robin over jobs, batches without waiting.

A lane that is free takes the next request in turn and adds whatever waiting requests may share its run. Nothing is
ever held back to fill a batch: under load batches grow by themselves, and a lone caller loses no time. A job pays for
each request by the size of its inputs, so one with thousands of tiles does not starve one with a single picture.
"""

import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

__all__ = ["FairQueue", "QueueFull", "Request"]


class QueueFull(Exception):
    """There is no room for the request."""


@dataclass(eq=False, slots=True)
class Request:
    """One call of a model that waits or runs.

    Attributes:
        id: Number of the call on its channel.
        job: Whom it counts for.
        key: Requests with equal keys may share a run: same model file, element types and shapes but for the first axis.
        rows: Length of the first axis.
        cost: Bytes of the inputs, at least 1.
        payload: What the lane needs; the queue does not look at it.
        cancelled: Nobody waits for the answer any more.
    """

    id: int
    job: str
    key: Hashable
    rows: int
    cost: int
    payload: Any = None
    cancelled: bool = False


class FairQueue:
    """Waiting requests of all jobs. Every method may be called from any thread.

    Args:
        most_requests: Requests that may wait.
        most_cost: What they may cost together; a single one that costs more may wait alone.
    """

    def __init__(self, most_requests: int = sys.maxsize, most_cost: int = sys.maxsize) -> None:
        self._most_requests = most_requests
        self._most_cost = most_cost
        self._cost = 0
        self._changed = threading.Condition()
        self._jobs: OrderedDict[str, deque[Request]] = OrderedDict()
        self._credit: dict[str, int] = {}
        self._closed = False

    def __len__(self) -> int:
        """Requests that wait."""
        with self._changed:
            return self._count()

    @property
    def cost(self) -> int:
        """What the waiting requests cost together."""
        return self._cost

    def put(self, request: Request) -> None:
        """Add a request behind the others of its job.

        Raises:
            QueueFull: Too much waits already.
        """
        with self._changed:
            if self._cost and (self._count() >= self._most_requests or self._cost + request.cost > self._most_cost):
                raise QueueFull
            self._cost += request.cost
            if request.job not in self._jobs:
                self._jobs[request.job] = deque()
                self._credit[request.job] = request.cost
            self._jobs[request.job].append(request)
            self._changed.notify()

    def take(self) -> Request | None:
        """Wait for the next request in turn; None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return None
            while True:
                job, waiting = next(iter(self._jobs.items()))
                if waiting[0].cost <= self._credit[job]:
                    return self._pop(job)
                self._credit[job] += max(queue[0].cost for queue in self._jobs.values())
                self._jobs.move_to_end(job)

    def fill(self, first: Request, max_rows: int, max_cost: float, lanes: int = 1) -> list[Request]:
        """Take the requests that may share a run with `first`, one of each job in turn, within the limits of a run.

        Of `lanes` lanes each takes its share only: a run that took all would leave the others idle.
        """
        rows, cost, taken = first.rows, first.cost, list[Request]()
        with self._changed:
            share = -(-(1 + self._count()) // lanes)
            found = True
            while found:
                found = False
                for job in list(self._jobs):
                    head = self._jobs[job][0]
                    fits = rows + head.rows <= max_rows and cost + head.cost <= max_cost
                    if fits and head.key == first.key and 1 + len(taken) < share:
                        taken.append(self._pop(job))
                        rows, cost, found = rows + head.rows, cost + head.cost, True
        return taken

    def remove(self, unwanted: Callable[[Request], bool]) -> list[Request]:
        """Take out every waiting request that `unwanted` picks."""
        with self._changed:
            removed = [request for waiting in self._jobs.values() for request in waiting if unwanted(request)]
            for request in removed:
                self._jobs[request.job].remove(request)
                self._cost -= request.cost
                self._forget_if_empty(request.job)
        return removed

    def close(self) -> None:
        """Wake every waiting `take` with None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _count(self) -> int:
        return sum(len(waiting) for waiting in self._jobs.values())

    def _pop(self, job: str) -> Request:
        request = self._jobs[job].popleft()
        self._credit[job] -= request.cost
        self._cost -= request.cost
        self._forget_if_empty(job)
        return request

    def _forget_if_empty(self, job: str) -> None:
        if not self._jobs[job]:
            del self._jobs[job], self._credit[job]
