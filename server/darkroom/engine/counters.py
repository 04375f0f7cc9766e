"""What the model process counts: batches, time and trouble. Any thread may call any method."""

import threading
from collections import Counter, defaultdict
from typing import Any

__all__ = ["Counters"]


class Counters:
    """Counts since the process started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: Counter[int] = Counter()
        self._requests: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._events: Counter[str] = Counter()

    def ran(self, model: str, requests: int, seconds: float) -> None:
        """A run for so many requests took so long."""
        with self._lock:
            self._batches[requests] += 1
            self._requests[model] += requests
            self._seconds[model] += seconds

    def happened(self, event: str, times: int = 1) -> None:
        """Something worth counting happened."""
        with self._lock:
            self._events[event] += times

    def seconds_per_request(self) -> float:
        """Mean time of a lane per request; 0 before the first."""
        with self._lock:
            return sum(self._seconds.values()) / max(1, sum(self._requests.values()))

    def stats(self) -> dict[str, Any]:
        """All counts, ready for JSON."""
        with self._lock:
            return {
                "batches": self._batches.total(),
                "batchSizes": {str(size): count for size, count in sorted(self._batches.items())},
                "requests": self._requests.total(),
                "modelRequests": dict(self._requests),
                "modelSeconds": {model: round(seconds, 6) for model, seconds in self._seconds.items()},
                "refused": self._events["refused"],
                "outOfMemory": {
                    "batches": self._events["batch too large"],
                    "toCpu": self._events["to the CPU"],
                    "failed": self._events["out of memory"],
                },
            }
