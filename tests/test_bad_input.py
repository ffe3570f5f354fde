"""Wrong input from callers and providers gives a clear error, loses nothing and shows no key."""

from __future__ import annotations

import importlib
import io
import logging
import os
import pickle
import sys
import traceback

import anyio
import attrs
import httpx
import pytest
from PIL import Image as Picture

from callsheet import (
    APIError,
    AuthenticationError,
    CallsheetError,
    Client,
    ConfigurationError,
    ConnectFailedError,
    Image,
    InvalidRequestError,
    Limits,
    NotSubmittedError,
    Polling,
    Provider,
    RetryPolicy,
    SpecError,
    SubmissionUncertainError,
    TaskSpec,
    TaskTimeoutError,
)
from callsheet.downloads import Downloader
from callsheet.events import GateShut
from emulation import ARK, COMET, Script, Wire, client, first, prompt_of, refusal


KEYS = {"cometapi": "COMETAPI_KEY", "ark": "ARK_API_KEY", "byteplus": "BYTEPLUS_API_KEY"}


@pytest.mark.parametrize("provider", KEYS)
@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_key_is_named_before_any_io(provider, value, monkeypatch):
    """Without a key no client is made, and the error names the variable to set."""
    if value is not None:
        monkeypatch.setenv(KEYS[provider], value)
    with pytest.raises(ConfigurationError, match=KEYS[provider]):
        Client(provider=provider, transport=Script())
    with pytest.raises(ConfigurationError, match=KEYS[provider]):
        Client(provider=provider, api_key=value or "")


@pytest.mark.parametrize("provider", KEYS)
async def test_the_key_comes_from_the_providers_own_variable(provider, monkeypatch):
    """Each provider has its own variable, and white space around a key is removed."""
    monkeypatch.setenv(KEYS[provider], " key-of-mine\n")
    script = Script(httpx.Response(200, json={"items": []}))
    async with Client(provider=provider, transport=script) as c:
        await c.tasks.list()
    assert script.seen[0].headers["authorization"] == "Bearer key-of-mine"


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-a b", "sk-ключ", "sk-\x00a", "sk-a\r\nX-Evil: 1"])
def test_a_key_that_fits_in_no_header_is_refused_and_not_shown(key):
    """The error of an invalid key names the provider and does not show the key."""
    with pytest.raises(ConfigurationError) as caught:
        Client(api_key=key)
    assert "cometapi" in str(caught.value)
    assert "sk-" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("provider", ["comet", "", "Ark", "openai"])
def test_an_unknown_provider_is_refused_with_the_known_ones(provider):
    """An unknown provider name is an error that lists the four known ones."""
    with pytest.raises(ConfigurationError, match="cometapi, ark, byteplus, emulator"):
        Client(provider=provider, api_key="k")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://api.test/v3",
        "http://",
        "https:///v3",
        "api.test/v3",
        "://",
        "http://a b/",
        "file:///x",
    ],
)
def test_a_wrong_base_url_is_refused_before_any_io(address, monkeypatch):
    """An address that is not http(s) is an error at once, wherever it is set."""
    with pytest.raises(ConfigurationError):
        Client(api_key="k", base_url=address)
    monkeypatch.setenv("CALLSHEET_BASE_URL", address)
    with pytest.raises(ConfigurationError):
        Client(api_key="k")


@pytest.mark.parametrize("slashes", ["", "/", "//"])
@pytest.mark.parametrize("way", ["argument", "variable"])
async def test_another_base_url_is_used_as_given(way, slashes, monkeypatch):
    """The address may be an argument or a variable, with or without a slash at the end."""
    address = f"http://proxy.test:8080/deep/v3{slashes}"
    if way == "variable":
        monkeypatch.setenv("CALLSHEET_BASE_URL", address)
    script = Script(httpx.Response(200, json={"items": []}))
    own = {"base_url": address} if way == "argument" else {}
    async with Client(api_key="k", transport=script, **own) as c:
        await c.tasks.list()
        assert "proxy.test" in repr(c)
    (request,) = script.seen
    assert str(request.url).startswith("http://proxy.test:8080/deep/v3/contents/generations/tasks?")


async def test_the_argument_is_used_before_the_environment(monkeypatch):
    """An address in an argument is used instead of the one in the environment."""
    monkeypatch.setenv("CALLSHEET_BASE_URL", "http://wrong.test")
    script = Script(httpx.Response(200, json={"items": []}))
    async with Client(api_key="k", transport=script, base_url="http://right.test") as c:
        await c.tasks.list()
    assert script.seen[0].url.host == "right.test"


async def test_a_provider_of_the_caller_needs_no_key_variable():
    """A provider that the caller describes works without any environment variable."""
    script = Script(httpx.Response(200, json={"items": []}))
    own = Provider(name="mine", base_url="http://mine.test", default_model="ep-1",
                   limits=ARK.limits)  # fmt: skip
    async with Client(provider=own, transport=script) as c:
        await c.tasks.list()
    assert script.seen[0].url.host == "mine.test"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(connections=0),
        lambda: Limits(creates_per_minute=0),
        lambda: Limits(gets_per_second=-1),
        lambda: Polling(delay=0),
        lambda: Polling(delay=float("inf")),
        lambda: RetryPolicy(attempts=0),
        lambda: RetryPolicy(timeout=0),
        lambda: RetryPolicy(resubmit="maybe"),
    ],
)
def test_invalid_policies_are_refused(make):
    """A policy checks its own values."""
    with pytest.raises(ValueError, match=r"."):
        make()


BAD_SPECS = {
    "no prompt": TaskSpec(),
    "blank prompt": TaskSpec("  \n"),
    "duration": TaskSpec("a", duration=99),
    "resolution": TaskSpec("a", resolution="4k"),
    "ratio": TaskSpec("a", ratio="2:1"),
    "frame and references": TaskSpec("a", first_frame="http://a.test/i.png", references=["x.png"]),
    "last frame alone": TaskSpec("a", last_frame="http://a.test/i.png"),
    "no image": TaskSpec("a", first_frame=b"this is no picture"),
    "empty image": TaskSpec("a", first_frame=b""),
    "no file": TaskSpec("a", first_frame="/nowhere/at/all.png"),
    "wrong type": TaskSpec("a", duration="long"),  # type: ignore[arg-type]
    "extra": TaskSpec("a", extra={"odd": object()}),
}


def picture(width: int, height: int) -> bytes:
    """The content of a picture file of this size."""
    file = io.BytesIO()
    Picture.new("1", (width, height)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("kind", BAD_SPECS)
async def test_a_bad_spec_is_named_before_anything_is_sent(kind):
    """Alone or in a batch, it raises `SpecError` with the field, the value and the rule."""
    wire = Wire()
    async with client(wire) as c:
        for use in (c.submit, c.run, lambda spec: c.submit_many([TaskSpec("fine"), spec])):
            with pytest.raises(SpecError) as caught:
                await use(BAD_SPECS[kind])
            assert all(p.field and p.allowed for p in caught.value.problems)
            assert caught.value.problems
    assert not wire.seen


@pytest.mark.parametrize(
    "content", [picture(200, 200), picture(2000, 400), picture(320, 320)[:20], b"\x89PNG"]
)
async def test_a_picture_of_the_wrong_size_is_named(content):
    """A picture that is too small, too wide or cut off is an error before anything is sent."""
    wire = Wire()
    async with client(wire) as c:
        with pytest.raises(SpecError, match="first_frame"):
            await c.submit(TaskSpec("a", first_frame=Image(content)))
    assert not wire.seen


async def test_a_picture_of_40_mb_is_refused(tmp_path):
    """A picture above the size limit is refused and not sent."""
    path = tmp_path / "big.png"
    path.write_bytes(picture(320, 320))
    os.truncate(path, 40_000_000)
    wire = Wire()
    async with client(wire) as c:
        with pytest.raises(SpecError, match="first_frame"):
            await c.submit(TaskSpec("a", first_frame=path))
    assert not wire.seen


async def test_a_picture_that_is_deleted_before_its_create_fails_alone(tmp_path):
    """A file that is gone when it is needed fails its own spec only."""
    path = tmp_path / "picture.png"
    path.write_bytes(picture(320, 320))
    wire = Wire(latency=1.0)
    async with client(wire) as c:
        batch = await c.submit_many([TaskSpec("a"), TaskSpec("b", first_frame=path), TaskSpec("c")])
        path.unlink()
        result = await batch.result()
    assert [outcome.ok for outcome in result] == [True, False, True]
    assert isinstance(result[1].error, SpecError)
    assert len(wire.sent("POST")) == 2


async def test_a_prompt_of_5000_words_is_never_cut():
    """A very long prompt is sent unchanged or refused."""
    wire = Wire()
    prompt = " ".join(["boat"] * 5000)
    async with client(wire) as c:
        try:
            await c.submit(TaskSpec(prompt))
        except SpecError as error:
            assert error.problems[0].field == "prompt"  # noqa: PT017 - either is right
        else:
            assert wire.prompts == [prompt]


UNUSABLE = {
    "html": httpx.Response(200, text="<html><title>Welcome</title></html>"),
    "empty": httpx.Response(200),
    "10 MB": httpx.Response(200, content=b"x" * 10_000_000),
    "a redirect loop": httpx.Response(302, headers={"location": "/"}),
    "half a json": httpx.Response(200, text='{"id": '),
    "a string": httpx.Response(200, json="ok"),
    "null": httpx.Response(200, json=None),
    "binary": httpx.Response(200, content=bytes(range(256))),
    "418": httpx.Response(418, text="teapot"),
    "nested": httpx.Response(200, content=b"[" * 100_000),
    "bad gzip": httpx.Response(
        200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no")
    ),
    "599": httpx.Response(599),
}


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_an_unusable_answer_is_an_error_and_its_create_is_sent_once(kind):
    """Every call ends with one of our errors, and a create is sent once."""
    script = Script(UNUSABLE[kind])
    async with Client(provider=COMET, api_key="k", transport=script) as c:
        with pytest.raises((SubmissionUncertainError, APIError)):
            await c.submit(TaskSpec("boat"))
        assert len(script.seen) == 1
        with pytest.raises(CallsheetError):
            await c.tasks.get("cgt-1")
        with pytest.raises(CallsheetError):
            await c.tasks.list()
        with pytest.raises(TaskTimeoutError):
            await c.attach("cgt-1").wait(timeout=60)
    assert [r.method for r in script.seen].count("POST") == 1
    assert all(request.url.host == "emulator.test" for request in script.seen)


UNWRITABLE = {"long": "x" * 70_000, "dot": ".", "dots": ".."}


@pytest.mark.parametrize("kind", UNWRITABLE)
@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("way", ["attached", "created"])
async def test_an_id_that_fits_in_no_url_ends_only_its_own_handle(kind, lists, way):
    """Its error is short, the other tasks go on, and no circuit breaker trips."""
    wire, events, odd = Wire(render_seconds=60), [], UNWRITABLE[kind]

    def change(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        created = request.method == "POST" and prompt_of(request) == "odd"
        return httpx.Response(200, json={"id": odd}) if created else None

    wire.change = change
    async with client(wire, provider=attrs.evolve(ARK, lists=lists), observer=events.append) as c:
        batch = await c.submit_many([TaskSpec("a"), TaskSpec("b")])
        handle = c.attach(odd) if way == "attached" else await c.submit(TaskSpec("odd"))
        with anyio.fail_after(600):
            outcome = await handle.outcome()
            assert len((await batch.result()).urls()) == 2
        assert c.spend.uncertain.tasks == (way == "created")
    assert isinstance(outcome.error, SpecError)
    assert len(str(outcome.error)) < 150
    assert not [event for event in events if isinstance(event, GateShut)]


@pytest.mark.parametrize("kind", UNWRITABLE)
async def test_an_id_that_fits_in_no_url_is_refused_by_every_call(kind):
    """It is refused before anything is sent; a list accepts dots, which are no path there."""
    wire, odd = Wire(), UNWRITABLE[kind]
    async with client(wire) as c:
        for use in (c.tasks.get, c.tasks.cancel, lambda odd: c.attach(odd).cancel()):
            with pytest.raises(SpecError, match="task_id="):
                await use(odd)
        if kind == "long":
            with pytest.raises(SpecError, match="task_ids"):
                await c.tasks.list(task_ids=[odd])
            with pytest.raises(SpecError, match="target"):
                await c.tasks.list(task_ids=["cgt-1"] * 5000)
    assert not any(odd in str(request.url) for request in wire.seen if kind == "long")


SECRETS = ["sk-s3cr3tS3CR3Ts3cr3t", "0f9e8d7c-6b5a-4321-8765-43210fedcba9"]


@pytest.mark.parametrize("key", SECRETS)
async def test_no_text_shows_the_key(key, caplog):
    """No text of the package contains the key, even if the provider repeats it."""
    caplog.set_level(logging.DEBUG)
    wire = Wire()
    texts: list[str] = []

    def note(event: object) -> None:
        texts.append(repr(event))
        if len(texts) % 3 == 0:
            raise RuntimeError("observer")

    retry = RetryPolicy(resubmit="never", lookup=10)
    c = Client(provider=ARK, transport=wire, api_key=key, observer=note, retry=retry)
    texts.append(repr(c))
    async with c:
        batch = await c.submit_many([TaskSpec("a"), TaskSpec("[fail]"), TaskSpec("[refuse]")])
        texts += [repr(c), repr(batch), repr(batch[0]), repr(c.tasks), repr(await batch.result())]
        wrong = f"Incorrect API key provided: {key}."
        for answer in (
            lambda: refusal(401, "AuthenticationError", wrong),
            lambda: refusal(400, f"Invalid{key}", wrong),
            lambda: httpx.Response(503, text=wrong),
            lambda: httpx.Response(302, headers={"location": f"http://x.test/?key={key}"}),
            lambda: httpx.Response(200, text=wrong),
            lambda: (_ for _ in ()).throw(httpx.ReadError("reset")),
        ):
            wire.fault = first(1, answer)
            with pytest.raises(CallsheetError) as caught:
                await c.submit(TaskSpec("boat"))
            texts += [
                repr(caught.value),
                str(caught.value),
                "".join(traceback.format_exception(caught.value)),
                repr(pickle.dumps(caught.value)),
            ]
    assert key not in caplog.text
    assert not [text for text in texts if key in text]
    assert {r.headers["authorization"] for r in wire.seen} == {f"Bearer {key}"}
    assert not [r for r in wire.seen if key in str(r.url) or key.encode() in r.content]


async def test_the_key_is_sent_only_to_the_provider():
    """After a redirect the key is not sent to another host."""
    script = Script(httpx.Response(307, headers={"location": "http://evil.test/"}))
    async with Client(provider=COMET, api_key="sk-123456789", transport=script) as c:
        with pytest.raises(InvalidRequestError):
            await c.submit(TaskSpec("boat"))
        with pytest.raises(CallsheetError):
            await c.tasks.get("cgt-1")
    assert {request.url.host for request in script.seen} == {"emulator.test"}


async def test_no_second_authorization_header_is_sent():
    """There is one ``Authorization`` header, because two of them give a 401."""
    wire = Wire()
    async with client(wire, api_key="sk-123456789") as c:
        await c.run(TaskSpec("boat"))
    for request in wire.seen:
        assert len(request.headers.get_list("authorization")) == 1
        assert request.headers["user-agent"].startswith("callsheet")
        assert ("content-type" in request.headers) == (request.method == "POST")


async def test_a_wrong_key_is_an_authentication_error():
    """A key that the provider refuses raises `AuthenticationError` after one request."""
    wire = Wire(keys=("right",))
    async with client(wire, api_key="wrong") as c:
        with pytest.raises(AuthenticationError):
            await c.run(TaskSpec("boat"))
        with pytest.raises(AuthenticationError):
            await c.tasks.list()
    assert len(wire.seen) == 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "socksio"),
        ("HTTPS_PROXY", "gopher://127.0.0.1", "gopher"),
        ("HTTP_PROXY", "http://127.0.0.1:x", "port"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named_on_entering(name, value, words, monkeypatch):
    """If `httpx` cannot use the environment's proxy, entering the client raises its reason."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=words):
        async with Client(api_key="k" * 20):
            pass
    with pytest.raises(ConfigurationError, match=words):
        Downloader()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spend": 20}, "spend=20: a SpendLimit"),
        ({"spend": 0}, "spend=0: a SpendLimit"),
        ({"spend": {"usd": 1}}, "a SpendLimit"),
        ({"limits": 16}, "limits=16: a Limits"),
        ({"polling": 5}, "polling=5: a Polling"),
        ({"retry": None}, "retry=None: a RetryPolicy"),
        ({"observer": 5}, "observer=5: a function"),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused_at_once(options, words):
    """A setting of the wrong type is an error when the client is made, and not later."""
    with pytest.raises(ConfigurationError, match=words):
        Client(api_key="k", **options)


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_address_with_the_task_path_is_refused(slash):
    """With such an address creates might work, but no poll, so paid tasks would be lost."""
    address = f"https://ark.test/api/v3/contents/generations/tasks{slash}"
    with pytest.raises(ConfigurationError, match="give what comes before"):
        Client(api_key="k", base_url=address)


@pytest.fixture
def new_package():
    """The package as a new process has it, before any certificate is read.

    Afterwards the old modules are back, and the new ones are removed.
    """

    def ours() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "callsheet"]

    before = {name: sys.modules.pop(name) for name in ours()}
    importlib.import_module("callsheet.downloads")
    yield sys.modules["callsheet"]
    for name in ours():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("options", [{}, {"transport": "aiohttp"}])
async def test_unreadable_certificates_are_named_on_entering(options, new_package, monkeypatch):
    """With either library the error names the variables that may set the certificates."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    with pytest.raises(new_package.ConfigurationError, match=r"SSL_CERT_FILE.*cannot be read"):
        async with new_package.Client(api_key="k" * 20, **options):
            pass
    with pytest.raises(new_package.ConfigurationError, match="SSL_CERT_FILE"):
        new_package.downloads.Downloader(**options)


async def test_a_create_without_a_connection_is_not_uncertain(monkeypatch):
    """If a later connection cannot be set up, nothing is sent and nothing is counted."""
    wire = Wire()

    def broken(**_options: object) -> None:
        raise ImportError("no such package")

    async with client(wire) as c:
        await c.submit(TaskSpec("one"))
        monkeypatch.setattr(httpx, "AsyncClient", broken)
        wire.latency = 20.0
        async with anyio.create_task_group() as group:
            group.start_soon(c.submit, TaskSpec("two"))
            await anyio.sleep(1)
            with pytest.raises(ConfigurationError, match="no such package"):
                await c.submit(TaskSpec("three"))
        assert c.spend.uncertain.tasks == 0
        assert c.spend.reserved.tasks == 2
    assert wire.prompts == ["one", "two"]


async def test_an_unreachable_address_stops_a_batch_after_its_first_spec():
    """Only the attempts of one create are made, and the other specs are never sent."""
    script = Script(httpx.ConnectError("connection refused"))
    async with Client(provider=ARK, transport=script) as c:
        batch = await c.submit_many([TaskSpec("a"), TaskSpec("b"), TaskSpec("c")])
        with anyio.fail_after(600):
            dead, *rest = await batch.result()
    assert isinstance(dead.error, ConnectFailedError)
    assert all(isinstance(outcome.error, NotSubmittedError) for outcome in rest)
    assert all(outcome.error.__cause__ is dead.error for outcome in rest)
    assert len(script.seen) == RetryPolicy().attempts
