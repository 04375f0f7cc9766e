"""The server's counters in the text format of Prometheus (exposition format 0.0.4). No label holds a user's data."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from darkroom.routing import Door, Needs
from darkroom_tools.models import cards

__all__ = ["Family", "families", "metrics_route", "render"]

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
Sample = tuple[str, Mapping[str, str], float]
"""What is added to the family's name, labels, value."""

Told = tuple[Kind, str, str]
"""Kind, name and help of a number that some part tells."""

WORKERS: Final[Mapping[str, Told]] = {
    "workers": ("gauge", "workers", "Worker processes at most."),
    "idle": ("gauge", "workers_idle", "Workers that are free."),
    "asleep": ("gauge", "workers_asleep", "Workers that wait to be started at need."),
    "waiting": ("gauge", "worker_waiting", "Plans that wait for a worker."),
    "runs": ("counter", "worker_runs_total", "Plans started."),
    "failed": ("counter", "worker_failed_total", "Plans that ended with an error."),
    "deaths": ("counter", "worker_deaths_total", "Workers that died at work."),
    "timeouts": ("counter", "worker_timeouts_total", "Plans stopped at their time limit."),
    "cancelled": ("counter", "worker_cancelled_total", "Plans that were cancelled."),
    "killed": ("counter", "worker_killed_total", "Workers that had to be killed."),
    "replaced": ("counter", "worker_replaced_total", "Workers that were replaced."),
}
MODELS: Final[Mapping[str, Told]] = {
    "alive": ("gauge", "process_up", "Whether the model process runs."),
    "starts": ("counter", "process_starts_total", "Starts of the model process."),
    "crashes": ("counter", "process_crashes_total", "Deaths of the model process."),
    "inFlight": ("gauge", "requests_in_flight", "Requests for models under way."),
    "queued": ("gauge", "requests_queued", "Requests that wait for a lane."),
    "running": ("gauge", "requests_running", "Requests that run."),
    "queuedBytes": ("gauge", "queued_bytes", "Inputs that wait in shared memory."),
    "refused": ("counter", "requests_refused_total", "Requests refused because too many waited."),
    "sessions": ("gauge", "sessions", "Loaded models."),
    "memoryBytes": ("gauge", "memory_bytes", "What loaded models take of their budget."),
    "budgetBytes": ("gauge", "memory_budget_bytes", "What loaded models may take together."),
    "loads": ("counter", "loads_total", "Models loaded."),
    "evictions": ("counter", "evictions_total", "Models dropped to make room for others."),
    "batches": ("counter", "runs_total", "Runs; one may serve several requests."),
}
"""Numbers of the model engine. Those of its process start anew with it, as Prometheus expects of a counter."""

LABELLED: Final[Mapping[str, tuple[Told, str]]] = {
    "modelRequests": (("counter", "requests_total", "Requests answered."), "model"),
    "modelSeconds": (("counter", "run_seconds_total", "Time of runs."), "model"),
    "outOfMemory": (("counter", "out_of_memory_total", "Runs that lacked memory, by what was done then."), "outcome"),
}
"""Numbers of the model engine by a name, and the label for it."""

LEFT_OUT: Final = frozenset({"requests", "tried"})
"""What other numbers say already, and what is none."""

BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all its samples.

    Attributes:
        name: Without the prefix `darkroom_`.
        kind: What Prometheus may do with it.
        help: One sentence.
        samples: What was measured.
    """

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


def families(
    version: str,
    pools: Mapping[str, Mapping[str, Any]],
    jobs: Mapping[str, int],
    models: Mapping[str, Any],
) -> list[Family]:
    """All metrics of a server.

    Args:
        version: Of Darkroom.
        pools: `Pool.stats()` by the kind of its workers.
        jobs: How many are in each open state.
        models: `ModelService.stats()`.
    """
    found = [
        Family("info", "gauge", "The version that runs.", [("", {"version": version}, 1)]),
        Family("jobs", "gauge", "Jobs that wait or run.", [("", {"state": state}, n) for state, n in jobs.items()]),
    ]
    for key, (kind, name, words) in WORKERS.items():
        samples = [("", {"pool": pool}, float(stats[key])) for pool, stats in pools.items() if key in stats]
        found += [Family(name, kind, words, samples)] if samples else []
    return found + list(_models(models))


def render(found: Sequence[Family]) -> str:
    """The text that a scraper reads."""
    lines = []
    for family in found:
        name = f"darkroom_{family.name}"
        lines += [f"# HELP {name} {_escaped(family.help)}", f"# TYPE {name} {family.kind}"]
        lines += [f"{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in family.samples]
    return "\n".join(lines) + "\n"


def metrics_route(read: Callable[[], Awaitable[str]], *, needs: Needs = "system:health") -> Door:
    """`GET /metrics`, which answers with what `read` renders."""

    async def answer(_request: Request) -> Response:
        return Response(await read(), media_type=MEDIA_TYPE)

    return Door("/metrics", answer, needs=needs)


def _models(stats: Mapping[str, Any], within: str = "") -> Iterator[Family]:
    """Every number that the model engine tells; those that no table knows are gauges under their own name."""
    for key, value in stats.items():
        if key in LABELLED:
            told, label = LABELLED[key]
            yield _labelled(told, label, value)
        elif key == "device":
            yield Family("model_device_info", "gauge", "What runs models.", [("", {"device": str(value)}, 1)])
        elif key == "batchSizes":
            yield _histogram(value)
        elif isinstance(value, Mapping) and key not in LEFT_OUT:
            yield from _models(value, f"{within}{_snake(key)}_")
        elif isinstance(value, bool | int | float) and key not in LEFT_OUT:
            untold: Told = ("gauge", f"{within}{_snake(key)}", "As the model engine tells it.")
            kind, name, words = untold if within else MODELS.get(key, untold)
            yield Family(f"model_{name}", kind, words, [("", {}, value)])


def _labelled(told: Told, label: str, values: Mapping[str, float]) -> Family:
    """One sample for each name; models that somebody named by hand are one, because a name can say too much."""
    sums: dict[str, float] = {}
    for name, value in values.items():
        shown = _snake(name) if label != "model" else name if name in cards() else "other"
        sums[shown] = sums.get(shown, 0) + value
    kind, family, words = told
    return Family(f"model_{family}", kind, words, [("", {label: name}, value) for name, value in sums.items()])


def _histogram(counts: Mapping[str, int]) -> Family:
    sizes = {int(size): count for size, count in counts.items()}
    samples: list[Sample] = [
        ("_bucket", {"le": str(bound)}, sum(count for size, count in sizes.items() if size <= bound))
        for bound in BUCKETS
    ]
    samples.append(("_bucket", {"le": "+Inf"}, sum(sizes.values())))
    samples.append(("_sum", {}, sum(size * count for size, count in sizes.items())))
    samples.append(("_count", {}, sum(sizes.values())))
    return Family("model_batch_size", "histogram", "Requests that shared a run.", samples)


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
