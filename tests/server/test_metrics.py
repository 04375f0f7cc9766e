"""/metrics: the exposition format, what is counted, and who may see it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from support import onnx_models as onnx

from darkroom.app import Darkroom, open_darkroom
from darkroom.asgi import Access, build_web
from darkroom.config import Config
from darkroom.metrics import Family, families, metrics_route, render
from darkroom.principal import LOCAL, Principal
from darkroom_tools.models import cards

pytestmark = pytest.mark.anyio

LINE = re.compile(
    r"# HELP [a-z_]+ .+|# TYPE [a-z_]+ (counter|gauge|histogram)|"
    r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\["\\n])*"\})? (\d+(\.\d+)?(e[+-]?\d+)?)'
)
STATS = {
    "alive": True,
    "starts": 2,
    "crashes": 0,
    "inFlight": 3,
    "device": "cuda",
    "tried": {"tensorrt": "not available"},
    "unusedGpu": None,
    "vram": {"usedBytes": 5, "totalBytes": 9},
    "sessions": 1,
    "memoryBytes": 1_000_000,
    "loads": 4,
    "evictions": 1,
    "batches": 6,
    "batchSizes": {"1": 3, "4": 2, "100": 1},
    "requests": 111,
    "modelRequests": {"u2net": 100, "my-own": 10, "my-other": 1},
    "modelSeconds": {"u2net": 1.5},
    "refused": 0,
    "outOfMemory": {"batches": 1, "toCpu": 2},
    "somethingNew": 7,
}


def samples(text: str) -> dict[str, float]:
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    }


def rendered() -> str:
    pools = {"pixels": {"workers": 2, "idle": 1, "runs": 9, "sandbox": "full"}, "vector": {"workers": 1}}
    return render(families("1.2.3", pools, {"queued": 5, "running": 2}, STATS))


def test_every_line_is_of_the_format_and_every_metric_has_one_help_and_one_type() -> None:
    text = rendered()
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []
    for word in ("HELP", "TYPE"):
        names = re.findall(rf"^# {word} (\S+)", text, re.MULTILINE)
        assert len(names) == len(set(names))
    typed = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert {re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name) for name in samples(text)} <= typed


def test_counters_end_in_total_and_nothing_else_does() -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", rendered(), re.MULTILINE))
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())


def test_pools_jobs_and_models_are_counted_under_stable_names() -> None:
    told = samples(rendered())
    expected = {
        'darkroom_info{version="1.2.3"}': 1,
        'darkroom_jobs{state="queued"}': 5,
        'darkroom_workers{pool="pixels"}': 2,
        'darkroom_workers{pool="vector"}': 1,
        'darkroom_worker_runs_total{pool="pixels"}': 9,
        "darkroom_model_process_up": 1,
        'darkroom_model_device_info{device="cuda"}': 1,
        "darkroom_model_loads_total": 4,
        "darkroom_model_vram_used_bytes": 5,
        'darkroom_model_requests_total{model="u2net"}': 100,
        'darkroom_model_out_of_memory_total{outcome="to_cpu"}': 2,
        "darkroom_model_something_new": 7,
    }
    assert {name: told.get(name) for name in expected} == expected


def test_batch_sizes_are_a_histogram() -> None:
    told = {name.removeprefix("darkroom_model_batch_size_"): n for name, n in samples(rendered()).items()}
    assert [told[f'bucket{{le="{bound}"}}'] for bound in ("1", "2", "4", "64", "+Inf")] == [3, 3, 5, 5, 6]
    assert (told["sum"], told["count"]) == (3 + 8 + 100, 6)


def test_names_that_somebody_gave_his_models_are_not_told() -> None:
    assert "u2net" in cards()
    text = rendered()
    assert "my-o" not in text
    assert samples(text)['darkroom_model_requests_total{model="other"}'] == 11


def test_labels_and_help_are_escaped() -> None:
    text = render([Family("x", "gauge", "a\\b\nc", [("", {"l": 'q"\\\n'}, 0.5)])])
    assert text == '# HELP darkroom_x a\\\\b\\nc\n# TYPE darkroom_x gauge\ndarkroom_x{l="q\\"\\\\\\n"} 0.5\n'


async def test_every_number_of_the_engine_has_its_words(tmp_path: Path) -> None:
    async with onnx.serving(tmp_path, {"u2net": onnx.times(2), "mine": onnx.times(3)}) as service:
        for model in ("u2net", "mine", "mine"):
            await onnx.infer(service, model, np.ones((1, 4), np.float32))
        text = render(families("1", {}, {}, service.stats()))
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []
    assert "As the model engine tells it" not in text
    told = samples(text)
    assert told['darkroom_model_device_info{device="cpu"}'] == 1
    assert told["darkroom_model_loads_total"] == 2
    assert told["darkroom_model_batch_size_sum"] == 3
    assert told['darkroom_model_requests_total{model="u2net"}'] == 1
    assert told['darkroom_model_requests_total{model="other"}'] == 2


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Darkroom]:
    async with open_darkroom(Config(data_dir=tmp_path, workers=1)) as opened:
        yield opened


async def test_a_running_server_tells_its_counters_to_who_may_know_them(room: Darkroom) -> None:
    async def identify(token: str) -> Principal:
        return LOCAL if token == "secret" else Principal("ann")

    web = build_web([metrics_route(room.metrics)], health=room.health, access=Access(identify=identify))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(web), base_url="http://127.0.0.1") as http:
        refused = await http.get("/metrics", headers={"Authorization": "Bearer other"})
        answer = await http.get("/metrics", headers={"Authorization": "Bearer secret"})
    assert refused.status_code == 403
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    told = samples(answer.text)
    assert told['darkroom_jobs{state="queued"}'] == 0
    assert told['darkroom_workers{pool="pixels"}'] == 1
    assert told["darkroom_model_process_up"] == 0
