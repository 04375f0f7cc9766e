"""Who a token belongs to, and that everything that is wrong with one looks the same."""

import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from support.accounts_room import HERE, PASSWORD, Accounts, open_accounts

from darkroom.accounts.identity import REFUSED, Identity
from darkroom.asgi import Access, build_web
from darkroom.errors import DatabaseBusy, Unauthorized
from darkroom.principal import LOCAL, OWN, Principal
from darkroom.routing import PUBLIC, SIGNED_IN, Door
from darkroom.store.database import Database

pytestmark = pytest.mark.anyio

TOKEN = "operator-token-of-32-characters!"


@pytest.fixture(scope="module")
async def accounts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Accounts]:
    async with open_accounts(tmp_path_factory.mktemp("accounts"), token=TOKEN) as room:
        await room.add("ann")
        yield room


async def test_the_operators_token_is_the_machines_owner(accounts: Accounts) -> None:
    assert await accounts.identity.principal_of(TOKEN) == LOCAL
    for almost in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), TOKEN + "é", TOKEN + "\ud800"):
        with pytest.raises(Unauthorized):
            await accounts.identity.principal_of(almost)


async def test_without_such_a_token_nothing_stands_for_it(accounts: Accounts) -> None:
    for empty in (None, ""):
        with pytest.raises(Unauthorized):
            await Identity(accounts.database, empty).principal_of("")


async def test_a_session_is_its_user(accounts: Accounts) -> None:
    login = await accounts.sessions.login("ann", PASSWORD, HERE)
    found = await accounts.identity.principal_of(login.token)
    assert found == Principal(login.user.id, username="ann", permissions=OWN, credential=found.credential)
    assert found.credential.startswith("ses_")
    assert found.organisation == login.user.id


async def test_the_first_admin_is_the_machines_owner(accounts: Accounts) -> None:
    _, admin = await accounts.signed_in("admin")
    assert (admin.id, admin.permissions, admin.role) == (LOCAL.id, LOCAL.permissions, "admin")
    assert admin.organisation == LOCAL.organisation == "local"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "si_",
        "si_" + "0" * 96,
        "sk_live_" + "0" * 96,
        "fsk_test_x",
        "00000000-0000-4000-8000-000000000000",
        "eyJhbGciOiJub25lIn0.e30.",
        "x" * 20_000,
        "si_" + "x" * 20_000,
        "si_\0",
        "si_\ud800",
        "' OR 1=1 --",
    ],
)
async def test_a_token_of_nobody_is_refused_in_the_same_words(accounts: Accounts, token: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        await accounts.identity.principal_of(token)
    assert (refused.value.message, refused.value.details) == (REFUSED, {})


@given(st.one_of(st.text(), st.builds(str, st.uuids()), st.text().map(lambda text: f"si_{text}")))
async def test_no_text_is_anybody(accounts: Accounts, text: str) -> None:
    with pytest.raises(Unauthorized, match="not valid"):
        await accounts.identity.principal_of(text)


async def test_a_digest_from_the_database_is_no_key(accounts: Accounts) -> None:
    _, principal = await accounts.signed_in()
    key, made = await accounts.keys.create(principal, "script")
    for text in (made.id, principal.credential, key.upper(), key[3:], key.replace("si_", "sk_live_"), f"{key}\n"):
        with pytest.raises(Unauthorized):
            await accounts.identity.principal_of(text)


async def test_what_another_process_revokes_is_out_at_once(accounts: Accounts) -> None:
    token, principal = await accounts.signed_in()
    key, made = await accounts.keys.create(principal, "script")
    async with Database(accounts.database._url) as database:
        elsewhere = Identity(database)
        assert (await elsewhere.principal_of(token)).id == (await elsewhere.principal_of(key)).id == principal.id
        await accounts.keys.delete(principal, made.id)
        await accounts.sessions.logout(principal)
        for gone in (token, key):
            with pytest.raises(Unauthorized):
                await elsewhere.principal_of(gone)


async def test_other_tokens_are_shown_to_the_external_issuer_alone(accounts: Accounts) -> None:
    shown = []

    async def external(token: str) -> Principal:
        shown.append(token)
        if token == "good.jwt.x":
            return Principal("usr_external")
        raise Unauthorized("The signature is wrong.")

    identity = Identity(accounts.database, TOKEN, external)
    assert (await identity.principal_of("good.jwt.x")).id == "usr_external"
    for token in ("bad.jwt.x", "si_unknown", str(uuid.uuid4())):
        with pytest.raises(Unauthorized) as refused:
            await identity.principal_of(token)
        assert refused.value.message == REFUSED
    assert shown == ["good.jwt.x", "bad.jwt.x"]


async def test_an_issuer_that_cannot_be_asked_is_no_wrong_token(accounts: Accounts) -> None:
    async def external(_: str) -> Principal:
        raise DatabaseBusy("Try again in a minute.")

    with pytest.raises(DatabaseBusy):
        await Identity(accounts.database, None, external).principal_of("a.b.c")


async def test_who_must_change_the_password_may_do_that_and_little_else(accounts: Accounts) -> None:
    user = await accounts.add("dan")
    await accounts.users.reset_password(LOCAL, user.id, "Another-horse-2")
    token, _ = await accounts.signed_in("dan", "Another-horse-2")

    async def hello(_request: Request) -> Response:
        return JSONResponse({"ok": True})

    doors = [
        Door("/open", hello, needs=PUBLIC),
        Door("/mine", hello, needs=SIGNED_IN),
        Door("/files", hello, needs="files:read"),
        Door("/password", hello, needs=SIGNED_IN, before_new_password=True),
        Door("/keys", hello, needs="keys:all", before_new_password=True),
    ]
    app = build_web(doors, health=dict, access=Access(identify=accounts.identity.principal_of))
    headers = {"authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as http:
        said = {path: await http.get(path) for path in ("/open", "/mine", "/files", "/password", "/keys")}
        assert {path: answer.status_code for path, answer in said.items()} == {
            "/open": 200,
            "/mine": 403,
            "/files": 403,
            "/password": 200,
            "/keys": 403,
        }
        codes = [said[path].json()["code"] for path in ("/mine", "/files", "/keys")]
        assert codes == ["MUST_CHANGE_PASSWORD", "MUST_CHANGE_PASSWORD", "FORBIDDEN"]
        _, dan = await accounts.signed_in("dan", "Another-horse-2")
        await accounts.users.change_password(await accounts.identity.principal_of(token), "Another-horse-2", PASSWORD)
        assert (await http.get("/files")).status_code == 200
        with pytest.raises(Unauthorized):
            await accounts.keys.create(dan, "late")
