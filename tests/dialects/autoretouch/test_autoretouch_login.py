"""The login of a program over HTTP, from its code to its tokens, and the page where a person approves it."""

import re
from typing import Any

import httpx2
import pytest
from support.web_room import PASSWORD, Web

from darkroom.principal import LOCAL

pytestmark = pytest.mark.anyio

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture
async def client(web: Web) -> Any:
    async with web.client() as nobody:
        yield nobody


async def code(client: httpx2.AsyncClient, name: str = "camera") -> dict[str, Any]:
    """As the vendor's clients ask for one."""
    form = {"client_id": name, "scope": "offline_access", "audience": "https://api.autoretouch.com"}
    answer = await client.post("/oauth/device/code", data=form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def token(client: httpx2.AsyncClient, given: dict[str, Any], *, as_json: bool = False) -> httpx2.Response:
    body = {"grant_type": DEVICE, "device_code": given["device_code"], "client_id": "camera"}
    return await client.post("/oauth/token", **({"json": body} if as_json else {"data": body}))


async def answered(client: httpx2.AsyncClient, given: dict[str, Any], **fields: str) -> httpx2.Response:
    """What the page's form sends."""
    form = {"user_code": given["user_code"], "username": "ann", "password": PASSWORD, "decision": "approve"}
    return await client.post("/oauth/device", data={**form, **fields})


def shown(page: httpx2.Response) -> str:
    """Which part of the page a person sees."""
    assert page.headers["content-type"].startswith("text/html")
    found = re.search(r'<main data-state="(\w+)"', page.text)
    assert found is not None
    return found[1]


def refused(answer: httpx2.Response) -> str:
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert answer.status_code == 400
    return str(body["error"])


async def test_a_program_signs_in_as_the_vendor_s_client_does(web: Web, client: httpx2.AsyncClient) -> None:
    given = await code(client)
    assert set(given) == {
        *("device_code", "user_code", "verification_uri", "verification_uri_complete", "expires_in", "interval"),
    }
    assert refused(await token(client, given)) == "authorization_pending"
    assert refused(await token(client, given)) == "slow_down"
    page = await client.get(given["verification_uri_complete"])
    assert (page.status_code, shown(page)) == (200, "confirm")
    assert "camera" in page.text
    assert given["user_code"] in page.text
    done = await answered(client, given)
    assert (done.status_code, shown(done)) == (200, "done")
    tokens = (await token(client, given)).json()
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in", "scope"}
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 86_400, "offline_access")
    async with web.client(tokens["access_token"]) as program:
        mine = (await program.get("/v1/organization")).json()
        assert mine["entries"][0]["members"][0]["id"] == web.ann.id
        assert (await program.get("/v1/workflow")).status_code == 200
    assert refused(await token(client, given)) == "invalid_grant"


async def test_a_refresh_token_stays_good_and_json_is_read_like_a_form(web: Web, client: httpx2.AsyncClient) -> None:
    given = await code(client)
    await answered(client, given)
    first = (await token(client, given, as_json=True)).json()
    body = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": "camera"}
    second = (await client.post("/oauth/token", data=body)).json()
    assert "refresh_token" not in second
    assert (await client.post("/oauth/token", json=body)).json()["access_token"] != second["access_token"]
    async with web.client(first["refresh_token"]) as wrong, web.client(second["access_token"]) as right:
        assert (await wrong.get("/v1/workflow")).status_code == 401
        assert (await right.get("/v1/workflow")).status_code == 200
        ended = await client.post("/oauth/revoke", json={"client_id": "camera", "token": second["access_token"]})
        assert (ended.status_code, ended.content) == (200, b"")
        assert (await right.get("/v1/workflow")).status_code == 401
    assert (await client.post("/oauth/revoke", data={"token": first["refresh_token"]})).status_code == 200
    assert refused(await client.post("/oauth/token", json=body)) == "invalid_grant"


async def test_a_program_that_is_turned_away_hears_it(client: httpx2.AsyncClient) -> None:
    given = await code(client)
    page = await answered(client, given, decision="deny", username="", password="")
    assert (page.status_code, shown(page)) == (200, "denied")
    assert refused(await token(client, given)) == "access_denied"


async def test_a_wrong_password_approves_nothing_and_says_so(client: httpx2.AsyncClient) -> None:
    given = await code(client)
    page = await answered(client, given, password="Wrong-horse-1")
    assert (page.status_code, shown(page)) == (401, "confirm")
    assert "wrong" in page.text
    assert refused(await token(client, given)) == "authorization_pending"


async def test_passwords_cannot_be_tried_forever(web: Web, client: httpx2.AsyncClient) -> None:
    await web.room.users.create(LOCAL, "eve.target", PASSWORD)
    given = await code(client)
    pages = [await answered(client, given, username="eve.target", password=f"Wrong-horse-{n}") for n in range(8)]
    assert pages[-1].status_code == 429
    assert int(pages[-1].headers["retry-after"]) > 0
    assert (await answered(client, given, username="eve.target")).status_code == 429
    assert refused(await token(client, given)) == "authorization_pending"


async def test_who_must_change_the_password_approves_nothing(web: Web, client: httpx2.AsyncClient) -> None:
    user = await web.room.users.create(LOCAL, "newcomer", PASSWORD)
    await web.room.users.reset_password(LOCAL, user.id, "Another-horse-2")
    given = await code(client)
    page = await answered(client, given, username="newcomer", password="Another-horse-2")
    assert (page.status_code, shown(page)) == (403, "confirm")
    assert refused(await token(client, given)) == "authorization_pending"


async def test_approving_leaves_no_session_of_the_page_behind(web: Web, client: httpx2.AsyncClient) -> None:
    made = []
    login = web.room.sessions.login

    async def noted(*words: str) -> Any:
        made.append(await login(*words))
        return made[-1]

    web.room.sessions.login = noted  # type: ignore[method-assign]
    try:
        await answered(client, await code(client))
    finally:
        del web.room.sessions.login
    async with web.client(made[0].token) as stale:
        assert (await stale.get("/v1/workflow")).status_code == 401


async def test_the_page_asks_for_the_code_first_and_knows_which_are_real(client: httpx2.AsyncClient) -> None:
    assert shown(await client.get("/oauth/device")) == "ask"
    wrong = await client.get("/oauth/device", params={"user_code": "BBBB-BBBB"})
    assert (wrong.status_code, shown(wrong)) == (404, "ask")
    posted = await answered(client, {"user_code": "BBBB-BBBB"})
    assert (posted.status_code, shown(posted)) == (404, "ask")


async def test_what_a_program_calls_itself_cannot_change_the_page(client: httpx2.AsyncClient) -> None:
    given = await code(client, '<script>alert(1)</script>"{{SAID}}{{NONCE}}')
    page = await client.get(given["verification_uri_complete"])
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "{{" not in page.text
    evil = await client.get("/oauth/device", params={"user_code": '"><img src=x onerror=alert(1)>'})
    assert "<img" not in evil.text


async def test_the_page_can_neither_be_framed_nor_run_scripts_nor_be_stored(client: httpx2.AsyncClient) -> None:
    pages = [await client.get("/oauth/device") for _ in range(2)]
    policies = [page.headers["content-security-policy"] for page in pages]
    for page, policy in zip(pages, policies, strict=True):
        rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
        assert rules["form-action"] == "'self'"
        assert "script-src" not in rules
        nonce = rules["style-src"].removeprefix("'nonce-").removesuffix("'")
        assert f'<style nonce="{nonce}">' in page.text
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "same-origin"  # with none, browsers send the form from "null"
        assert "set-cookie" not in page.headers
    assert policies[0] != policies[1]


async def test_another_site_cannot_send_the_form(client: httpx2.AsyncClient) -> None:
    given = await code(client)
    for origin in ("https://evil.example", "null"):
        form = {"user_code": given["user_code"], "username": "ann", "password": PASSWORD}
        answer = await client.post("/oauth/device", data=form, headers={"origin": origin})
        assert answer.status_code == 403
    assert refused(await token(client, given)) == "authorization_pending"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/oauth/token", {}, "invalid_request"),
        ("/oauth/token", {"grant_type": "password"}, "unsupported_grant_type"),
        ("/oauth/token", {"grant_type": DEVICE}, "invalid_request"),
        ("/oauth/token", {"grant_type": DEVICE, "device_code": "x"}, "invalid_grant"),
        ("/oauth/token", {"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ("/oauth/revoke", {}, "invalid_request"),
        ("/oauth/device/code", {"client_id": "x" * 500}, "invalid_request"),
    ],
)
async def test_a_request_that_cannot_be_has_an_error_of_oauth(
    client: httpx2.AsyncClient, path: str, body: dict[str, str], error: str
) -> None:
    assert refused(await client.post(path, data=body)) == error
    assert refused(await client.post(path, json=body)) == error


async def test_errors_before_any_address_have_the_form_of_oauth_too(client: httpx2.AsyncClient) -> None:
    method = await client.get("/oauth/token")
    assert (method.status_code, set(method.json())) == (405, {"error", "error_description"})
    broken = await client.post("/oauth/token", content=b"{", headers={"content-type": "application/json"})
    assert refused(broken) == "invalid_request"
    unknown = await client.get("/oauth/nonsense")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "invalid_request")
    odd = await client.post("/oauth/device", json={"user_code": 5, "username": ["a"], "password": None})
    assert (odd.status_code, shown(odd)) == (404, "ask")
