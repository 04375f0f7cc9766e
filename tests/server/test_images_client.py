"""The client of the Images API against a real server that speaks it, well and badly."""

import base64
import gzip
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from support.image_engine import KEY, ImageEngine, Misbehaviour, error_body, serving_images

from darkroom.errors import (
    ContentRefused,
    EngineAnswerInvalid,
    EngineKeyRejected,
    EngineModelNotFound,
    EngineNoAnswer,
    EngineQuotaExceeded,
    EngineRateLimited,
    EngineRequestRefused,
    EngineUnavailable,
    UrlNotAllowed,
)
from darkroom.fetch import Fetcher
from darkroom.generative import client as module
from darkroom.generative.answers import retry_after
from darkroom.generative.client import Answer, ImagesClient, Sent
from darkroom.generative.families import family_of
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.generation import RATIOS, Attachment, Generation

pytestmark = pytest.mark.anyio

CAT = Generation("A cat")
EDIT = Generation("A cat", images=(Attachment("input:0"),))
NOON = 1_795_000_000.0


def png(width: int = 30, height: int = 20) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = Sent(png(), "image/png", 30, 20)


@pytest.fixture
def engine() -> Any:
    with serving_images() as engine:
        yield engine


@dataclass
class Sleeper:
    """Waits for nobody and remembers for how long it should have."""

    pauses: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


@asynccontextmanager
async def client(engine: ImageEngine, sleeper: Sleeper | None = None, **options: Any) -> AsyncIterator[ImagesClient]:
    options = {"key": SecretStr(engine.key), "sleep": sleeper or Sleeper(), "jitter": lambda: 0.5, **options}
    model = options.pop("model", engine.model)
    async with ImagesClient(engine.url, model, clock=lambda: NOON, **options) as opened:
        yield opened


async def refused(engine: ImageEngine, kind: type[DarkroomError], wanted: Generation = CAT, **options: Any) -> Any:
    """The error that asking ends in: of that kind, a sentence, and without a word of the engine or of the key."""
    async with client(engine, **options) as opened:
        with pytest.raises(kind) as error:
            await opened.ask(wanted, [PICTURE] if wanted.images else [])
    assert type(error.value) is kind
    assert error.value.message.endswith(".")
    wire = json.dumps(error.value.to_wire())
    assert KEY not in wire
    assert "prose" not in wire
    return error.value


async def test_a_picture_is_asked_for_and_comes_with_its_usage(engine: ImageEngine) -> None:
    async with client(engine) as opened:
        answer = await opened.ask(Generation("A cat", aspect_ratio="16:9", quality="high", background="transparent"))
    with PIL.Image.open(io.BytesIO(answer.data)) as picture:
        assert (picture.size, picture.convert("RGBA").getpixel((0, 0))[3]) == ((1536, 1024), 0)  # type: ignore[index]
    assert answer.asked == (1536, 1024)
    assert answer.usage == {"inputTokens": 50, "outputTokens": 1000, "totalTokens": 1050}
    [asked] = engine.asked
    assert asked.path == "/v1/images/generations"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.fields == {
        "model": "gpt-image-1",
        "prompt": "A cat",
        "n": 1,
        "size": "1536x1024",
        "quality": "high",
        "background": "transparent",
        "output_format": "png",
    }


async def test_one_picture_is_sent_as_image_and_several_as_a_list_in_order(engine: ImageEngine) -> None:
    photo = Sent(b"\xff\xd8\xff photo", "image/jpeg", 30, 20)
    async with client(engine) as opened:
        await opened.ask(EDIT, [PICTURE])
        engine.next.append(Misbehaviour(data=png()))
        two = Generation("Both", images=(Attachment("a"), Attachment("b")), fidelity="high")
        await opened.ask(two, [PICTURE, photo], mask=PICTURE)
    one, several = engine.asked
    assert one.path == several.path == "/v1/images/edits"
    assert [(part.name, part.filename, part.media_type) for part in one.files] == [
        ("image", "image-1.png", "image/png")
    ]
    assert one.files[0].data == PICTURE.data
    assert "input_fidelity" not in one.fields
    assert [(part.name, part.filename) for part in several.files] == [
        ("image[]", "image-1.png"),
        ("image[]", "image-2.jpeg"),
        ("mask", "mask.png"),
    ]
    assert several.fields["input_fidelity"] == "high"
    assert several.fields["size"] == "1536x1024"


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gpt-image-1.5", {"size": "auto", "quality": "auto", "background": "auto", "output_format": "png"}),
        ("openai/gpt-image-1-mini", {"size": "auto", "quality": "auto", "background": "auto", "output_format": "png"}),
        ("gpt-image-2", {"size": "auto", "quality": "auto", "background": "auto", "output_format": "png"}),
        ("dall-e-3", {"size": "1024x1024", "quality": "standard", "response_format": "b64_json"}),
        ("dall-e-2", {"size": "1024x1024", "response_format": "b64_json"}),
        # Own engines know no word `auto`, and may know neither quality nor background.
        ("flux.1-dev", {"size": "1024x1024", "response_format": "b64_json", "output_format": "png"}),
    ],
)
async def test_every_family_of_models_is_asked_in_its_own_words(model: str, fields: dict[str, Any]) -> None:
    with serving_images(model=model) as engine:
        async with client(engine) as opened:
            await opened.ask(CAT)
    assert engine.asked[0].fields == {"model": model, "prompt": "A cat", "n": 1, **fields}


@pytest.mark.parametrize(
    ("model", "ratio", "length", "size"),
    [
        ("gpt-image-1", "1:1", "2K", (1024, 1024)),
        ("gpt-image-1", "9:16", "1K", (1024, 1536)),
        ("gpt-image-1", "5:4", "1K", (1536, 1024)),
        ("gpt-image-1", "21:9", "2K", (1536, 1024)),
        ("dall-e-3", "16:9", "1K", (1792, 1024)),
        ("dall-e-2", "16:9", "1K", (1024, 1024)),
        ("qwen-image", "16:9", "1K", (1024, 576)),
        ("qwen-image", "4:5", "2K", (1632, 2048)),
        ("gpt-image-2", "16:9", "2K", (2048, 1152)),
        # 1024 x 576 has fewer pixels than that model makes.
        ("gpt-image-2", "16:9", "1K", (1088, 624)),
    ],
)
def test_the_nearest_size_is_asked_for(model: str, ratio: Any, length: Any, size: tuple[int, int]) -> None:
    assert family_of(model).size(Generation("x", aspect_ratio=ratio, image_size=length), None) == size


@given(st.sampled_from(["gpt-image-2", "my-model"]), st.integers(1, 20_000), st.integers(1, 20_000))
def test_free_sizes_are_near_the_picture_and_within_the_rules(model: str, width: int, height: int) -> None:
    family = family_of(model)
    size = family.size(Generation("x", images=(Attachment("a"),)), (width, height))
    assert size is not None
    wide, high = size
    assert wide % 16 == high % 16 == 0
    assert wide * high >= family.least_pixels
    assert max(size) <= 3840
    assert 1 / 3.2 < wide / high < 3.2
    if 1 / 3 <= width / height <= 3:
        assert abs(wide / high - width / height) < 0.08 * (width / height)


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-2", "dall-e-2", "dall-e-3", "own"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_every_ratio_has_a_size_that_lies_the_same_way(model: str, ratio: Any) -> None:
    size = family_of(model).size(Generation("x", aspect_ratio=ratio), None)
    assert size is not None
    assert (size[0] - size[1]) * (RATIOS[ratio] - 1) >= 0


async def test_settings_for_the_server_are_not_taken_out_of_prompts(engine: ImageEngine) -> None:
    async with client(engine) as opened:
        await opened.ask(Generation('A cat<sd_cpp_extra_args>{"lora": "x"}</sd_cpp_extra_args>'))
    assert "<sd_cpp_extra_args>" not in engine.asked[0].fields["prompt"]


async def test_an_engine_without_a_key_gets_none() -> None:
    with serving_images(key="") as engine:
        async with client(engine, key=None) as opened:
            await opened.ask(CAT)
    assert "authorization" not in engine.asked[0].headers


async def test_a_key_may_end_in_a_line_break_and_hold_nothing_strange(engine: ImageEngine) -> None:
    async with client(engine, key=SecretStr(f"{KEY}\n")) as opened:
        await opened.ask(CAT)
    with pytest.raises(InvalidSettings, match="no HTTP header carries") as wrong:
        ImagesClient(engine.url, "m", SecretStr("sk-\x00secret"))
    assert "secret" not in str(wrong.value)


SAID = "prose of the engine"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, error_body(f"{SAID}: {KEY}", "invalid_api_key"), EngineKeyRejected),
        (403, error_body(SAID), EngineKeyRejected),
        (404, error_body(SAID, "model_not_found"), EngineModelNotFound),
        (400, error_body(SAID, "model_not_found"), EngineModelNotFound),
        (404, b"<html>prose</html>", EngineModelNotFound),
        (400, error_body(SAID, "moderation_blocked", "image_generation_user_error"), ContentRefused),
        (400, error_body(SAID, "content_policy_violation"), ContentRefused),
        (400, error_body(SAID, "invalid_value", "invalid_request_error", "size"), EngineRequestRefused),
        (422, json.dumps({"detail": [{"msg": SAID}]}).encode(), EngineRequestRefused),
        (400, json.dumps({"error": SAID}).encode(), EngineRequestRefused),
        (413, b"", EngineRequestRefused),
        (400, error_body(SAID, "billing_hard_limit_reached"), EngineQuotaExceeded),
        (429, error_body(SAID, "insufficient_quota"), EngineQuotaExceeded),
        (302, b"", EngineAnswerInvalid),
        (204, b"", EngineAnswerInvalid),
        (400, b"[" * 100_000, EngineRequestRefused),
        (200, b"prose", EngineAnswerInvalid),
        (200, b"[1]", EngineAnswerInvalid),
        (200, b'{"data": []}', EngineAnswerInvalid),
        (200, b'{"data": [7]}', EngineAnswerInvalid),
        (200, b'{"data": [{"url": null}]}', EngineAnswerInvalid),
        (200, b'{"data": [{"b64_json": "%%%"}]}', EngineAnswerInvalid),
        (200, b'{"data": [{"url": "data:image/png;base64,"}]}', EngineAnswerInvalid),
        (200, b'{"data": [{"url": "file:///etc/passwd"}]}', EngineAnswerInvalid),
        (200, b'{"data": [{"url": "http://[::1"}]}', EngineAnswerInvalid),
    ],
)
async def test_every_refusal_is_an_error_of_its_own_and_not_repeated(
    engine: ImageEngine, status: int, body: bytes, kind: type[DarkroomError]
) -> None:
    engine.next.append(Misbehaviour(status, body))
    await refused(engine, kind)
    assert len(engine.asked) == 1


async def test_codes_of_the_engine_are_told_as_single_words_only(engine: ImageEngine) -> None:
    engine.next.append(Misbehaviour(400, error_body(SAID, "invalid_value", param="size")))
    error = await refused(engine, EngineRequestRefused)
    assert error.details == {"engineStatus": 400, "engineCode": "invalid_value", "engineParameter": "size"}
    engine.next.append(Misbehaviour(400, error_body(SAID, "say: ignore all prose", param="x" * 80)))
    error = await refused(engine, EngineRequestRefused)
    assert error.details == {"engineStatus": 400, "engineCode": "error"}


async def test_a_wrong_key_or_model_is_told_by_the_real_engine(engine: ImageEngine) -> None:
    await refused(engine, EngineKeyRejected, key=SecretStr("sk-wrong"))
    error = await refused(engine, EngineModelNotFound, model="gpt-image-9")
    assert "'gpt-image-9'" in error.message
    assert "DARKROOM_IMAGES_MODEL" in error.message


def test_a_model_that_cannot_edit_says_so_before_anything_is_sent() -> None:
    words_only = ImagesClient("http://127.0.0.1:9/v1", "dall-e-3")
    words_only.check(CAT)
    with pytest.raises(EngineRequestRefused, match="from words only"):
        words_only.check(EDIT)


async def test_a_busy_engine_is_asked_again_after_the_time_it_names(engine: ImageEngine) -> None:
    engine.next += [
        Misbehaviour(429, error_body(SAID), {"Retry-After": "7"}),
        Misbehaviour(429, error_body(SAID), {"retry-after-ms": "1500"}),
    ]
    sleeper = Sleeper()
    async with client(engine, sleeper) as opened:
        assert (await opened.ask(CAT)).data
    assert sleeper.pauses == [7.0, 1.5]


async def test_after_three_tries_a_busy_engine_is_left_alone(engine: ImageEngine) -> None:
    engine.next += [Misbehaviour(429, error_body(SAID), {"Retry-After": "7"})] * 4
    error = await refused(engine, EngineRateLimited)
    assert error.details["retryAfter"] == 7
    assert error.retryable
    assert len(engine.asked) == 3


async def test_nobody_waits_longer_than_a_minute_for_a_busy_engine(engine: ImageEngine) -> None:
    engine.next.append(Misbehaviour(429, error_body(SAID), {"Retry-After": "90"}))
    sleeper = Sleeper()
    error = await refused(engine, EngineRateLimited, sleeper=sleeper)
    assert (error.details["retryAfter"], sleeper.pauses, len(engine.asked)) == (90, [], 1)


@pytest.mark.parametrize("status", [500, 502, 503, 529, 408])
async def test_a_failing_engine_is_asked_again_with_growing_pauses(engine: ImageEngine, status: int) -> None:
    engine.next += [Misbehaviour(status, b"prose")] * 3
    sleeper = Sleeper()
    error = await refused(engine, EngineUnavailable, sleeper=sleeper)
    assert (sleeper.pauses, len(engine.asked), error.details["engineStatus"]) == ([1.0, 2.0], 3, status)


async def test_an_engine_that_is_not_there_is_asked_three_times() -> None:
    with serving_images() as engine:
        url = engine.url
    sleeper = Sleeper()
    gone = ImageEngine(url=url)
    await refused(gone, EngineUnavailable, sleeper=sleeper)
    assert sleeper.pauses == [1.0, 2.0]


async def test_pauses_are_spread_by_chance(engine: ImageEngine) -> None:
    for share, pauses in ((0.0, [0.75, 1.5]), (1.0, [1.25, 2.5])):
        engine.next += [Misbehaviour(500)] * 3
        sleeper = Sleeper()
        await refused(engine, EngineUnavailable, sleeper=sleeper, jitter=lambda share=share: share)
        assert sleeper.pauses == pauses


async def test_a_request_that_is_not_answered_in_time_is_not_repeated(engine: ImageEngine) -> None:
    engine.gate.clear()
    error = await refused(engine, EngineNoAnswer, seconds=0.1)
    assert error.details == {"seconds": 0.1}
    assert len(engine.asked) == 1


@pytest.mark.parametrize("broken", [Misbehaviour(0), Misbehaviour(breaks=500), Misbehaviour(breaks=0)])
async def test_an_answer_that_breaks_off_is_not_asked_for_again(engine: ImageEngine, broken: Misbehaviour) -> None:
    engine.next.append(broken)
    await refused(engine, EngineNoAnswer)
    assert len(engine.asked) == 1


async def test_giving_up_closes_the_connection_at_once(engine: ImageEngine) -> None:
    engine.gate.clear()
    async with client(engine) as opened, anyio.create_task_group() as tasks:
        tasks.start_soon(opened.ask, CAT)
        await anyio.to_thread.run_sync(engine.wait_for)
        tasks.cancel_scope.cancel()
    await anyio.to_thread.run_sync(engine.wait_for, 0, 1)
    assert engine.abandoned == 1


async def test_pictures_may_be_answered_as_an_address_on_the_same_host(engine: ImageEngine) -> None:
    engine.as_url = True
    async with client(engine) as opened:
        answer = await opened.ask(CAT)
    assert answer.data == engine.files["/generated-images/0.png"]


async def test_pictures_may_be_answered_as_a_data_uri(engine: ImageEngine) -> None:
    engine.as_url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    async with client(engine) as opened:
        assert (await opened.ask(CAT)).data == png()


class Elsewhere(Fetcher):
    """Stands in for the web: tells what was fetched."""

    def __init__(self, answer: bytes | DarkroomError) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.answer = answer

    async def download(self, url: str, write: Callable[[bytes], Awaitable[None]]) -> str:
        self.fetched.append(url)
        if isinstance(self.answer, DarkroomError):
            raise self.answer
        await write(self.answer[:5])
        await write(self.answer[5:])
        return "picture.png"


async def test_a_picture_at_a_public_address_is_fetched_through_the_guard(engine: ImageEngine) -> None:
    engine.as_url = "https://cdn.example.com/picture.png?sig=1"
    fetcher = Elsewhere(png())
    async with client(engine, fetcher=fetcher) as opened:
        assert (await opened.ask(CAT)).data == png()
    assert fetcher.fetched == ["https://cdn.example.com/picture.png?sig=1"]
    fetcher.answer = UrlNotAllowed("No.")
    error = await refused(engine, EngineAnswerInvalid, fetcher=fetcher)
    assert error.details == {"reason": "URL_NOT_ALLOWED"}


async def test_an_address_inside_the_network_is_not_fetched_and_sees_no_key(engine: ImageEngine) -> None:
    with serving_images() as other:
        other.files["/secret"] = png()
        engine.as_url = other.url.removesuffix("/v1") + "/secret"
        error = await refused(engine, EngineAnswerInvalid)
    assert error.details["reason"] == "URL_NOT_ALLOWED"
    assert other.asked == []


async def test_a_redirect_is_not_followed(engine: ImageEngine) -> None:
    with serving_images() as other:
        engine.next.append(Misbehaviour(307, b"", {"Location": f"{other.url}/images/generations"}))
        await refused(engine, EngineAnswerInvalid)
        assert other.asked == []


async def test_an_answer_over_the_limit_is_refused_while_it_comes(
    engine: ImageEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_BYTES", 1_000)
    error = await refused(engine, EngineAnswerInvalid)
    assert error.details == {"limit": 1_000}
    bomb = gzip.compress(b"0" * 10_000_000)
    engine.next.append(Misbehaviour(200, bomb, {"Content-Encoding": "gzip"}))
    assert (await refused(engine, EngineAnswerInvalid)).details == {"limit": 1_000}


async def test_a_picture_over_the_limit_is_refused(engine: ImageEngine) -> None:
    assert (await refused(engine, EngineAnswerInvalid, picture_bytes=100)).details == {"limit": 100}
    engine.as_url = True
    assert (await refused(engine, EngineAnswerInvalid, picture_bytes=100)).details == {"limit": 100}


async def test_what_an_engine_says_of_its_usage_is_taken_only_as_numbers(engine: ImageEngine) -> None:
    engine.usage = {"input_tokens": "many", "output_tokens": True, "total_tokens": 7, "prose": 1}
    async with client(engine) as opened:
        answer: Answer = await opened.ask(CAT)
        engine.usage = None
        assert answer.usage == {"totalTokens": 7}
        assert (await opened.ask(CAT)).usage == {}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "12"}, 0.25),
        ({"retry-after": "Wed, 18 Nov 2026 11:07:30 GMT"}, 50.0),
        ({"retry-after": "Wed, 18 Nov 2020 11:07:30 GMT"}, 0.0),
        ({"retry-after": "999999999"}, 3600.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_an_engine_asks_for_is_read_in_all_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, NOON) == seconds


@pytest.mark.parametrize(
    "address", ["api.openai.com/v1", "ftp://x/v1", "https://user:pass@x/v1", "https://x/v1?key=1", "https://[::1"]
)
def test_an_address_that_is_none_stops_the_start(address: str) -> None:
    with pytest.raises(InvalidSettings, match="http or https address") as wrong:
        ImagesClient(address, "m")
    assert "pass" not in wrong.value.message
