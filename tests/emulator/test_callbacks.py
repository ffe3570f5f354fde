"""Callbacks: which changes are sent, when, how often and in which order."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.emulator import COMET, Emulator, Settings
from callsheet.emulator.callback_sender import post_on_loopback
from callsheet.emulator.callbacks import REDELIVERIES, Callback, Callbacks
from conftest import BACKENDS
from emulator.desk import EPOCH, EmulatorClient, sample


HOOK = "http://receiver.test/hook?token=1"


@pytest.fixture(params=sorted(BACKENDS))
def anyio_backend(request):
    """Run each async test on both event loops, in virtual time."""
    return BACKENDS[request.param]()


@attrs.define
class Receiver:
    """Receives callbacks. It answers with *status* after *seconds*."""

    status: int = 200
    seconds: float = 0.0
    bodies: list = attrs.field(factory=list)
    times: list = attrs.field(factory=list)

    async def post(self, url, body):
        """Receive one callback."""
        assert url == HOOK
        self.times.append(anyio.current_time())
        self.bodies.append(json.loads(body))
        await anyio.sleep(self.seconds)
        return self.status

    @property
    def statuses(self):
        """The received statuses, in order."""
        return [task["status"] for task in self.bodies]


@asynccontextmanager
async def client_with(receiver, **settings):
    """A client of an emulator that sends its callbacks to *receiver*, by the event loop's clock."""
    defaults = {"epoch": EPOCH, "render_seconds": 30.0, "render_sigma": 0.0, "concurrency": 1}
    emulator = Emulator(
        Settings(**(defaults | settings)), clock=anyio.current_time, post=receiver.post
    )
    async with anyio.create_task_group() as background:
        background.start_soon(emulator.send_callbacks)
        await anyio.sleep(1)
        yield EmulatorClient(emulator)
        background.cancel_scope.cancel()


async def test_every_change_of_status_is_sent_at_its_time():
    """There is a callback for queued, running and succeeded, each equal to a GET at that time."""
    receiver = Receiver()
    async with client_with(receiver) as client:
        await client.created()
        began = anyio.current_time()
        task_id = await client.created(callback_url=HOOK, safety_identifier="token")
        shown = [(await client.get(task_id)).json()]
        await anyio.sleep(31)
        shown.append((await client.get(task_id)).json())
        await anyio.sleep(30)
        shown.append((await client.get(task_id)).json())
        await anyio.sleep(1000)
    assert receiver.statuses == ["queued", "running", "succeeded"]
    assert receiver.bodies == shown
    assert [at - began for at in receiver.times] == pytest.approx([0, 30, 60], abs=0.01)
    assert receiver.bodies[1].keys() >= sample("56").keys()
    assert not receiver.bodies[1].keys() & {"content", "usage"}


@pytest.mark.parametrize(
    ("prompt", "last"),
    [("a [fail]", "failed"), ("a [reject]", "failed"), ("a [expire]", "expired")],
)
async def test_failures_and_expiries_are_sent(prompt, last):
    """There are callbacks for failed and expired tasks."""
    receiver = Receiver()
    async with client_with(receiver) as client:
        await client.created(prompt, callback_url=HOOK)
        await anyio.sleep(60)
    assert receiver.statuses == ["queued", "running", last]


async def test_a_cancellation_is_not_sent():
    """A cancelled task causes no callback, as the reference does not list that status."""
    receiver = Receiver()
    async with client_with(receiver) as client:
        await client.created()
        await client.delete(await client.created(callback_url=HOOK))
        await anyio.sleep(100)
    assert receiver.statuses == ["queued"]


async def test_a_late_task_sends_callbacks_once_it_is_made():
    """A late create sends callbacks once its task is made, with its identifier and its id."""
    receiver = Receiver()
    fault = {"request": "late", "delay": 120, "times": 1, "answer": "silence"}
    async with client_with(receiver, faults=[fault]) as client:
        began = anyio.current_time()
        with anyio.move_on_after(3):
            await client.create(callback_url=HOOK, safety_identifier="token")
        await anyio.sleep(200)
        assert (await client.get(receiver.bodies[0]["id"])).json() == receiver.bodies[-1]
    assert receiver.statuses == ["queued", "running", "succeeded"]
    assert {task["safety_identifier"] for task in receiver.bodies} == {"token"}
    assert receiver.times[0] - began == pytest.approx(120, abs=0.01)


@pytest.mark.parametrize(("status", "seconds"), [(500, 0.0), (404, 2.0), (200, 6.0)])
async def test_a_success_is_sent_again_until_it_is_accepted(status, seconds):
    """Without a 2xx in 5 s a success is sent again, three times at most; other changes are not."""
    receiver = Receiver(status, seconds)
    async with client_with(receiver) as client:
        await client.created(callback_url=HOOK)
        await anyio.sleep(1000)
        state = client.emulator.state()
    assert receiver.statuses == ["queued", "running"] + ["succeeded"] * (1 + REDELIVERIES)
    assert [b - a for a, b in pairwise(receiver.times[2:])] == pytest.approx([5.0] * 3, abs=0.01)
    assert state["callbacks"] == {"tried": 6, "delivered": 0}


async def test_a_success_that_is_accepted_is_not_sent_again():
    """A receiver that works again gets the success once more, and then no more."""
    receiver = Receiver(status=503)
    async with client_with(receiver) as client:
        await client.created(callback_url=HOOK)
        await anyio.sleep(33)
        receiver.status = 204
        await anyio.sleep(1000)
        assert client.emulator.state()["callbacks"] == {"tried": 4, "delivered": 1}
    assert receiver.statuses[2:] == ["succeeded", "succeeded"]


async def test_an_expiry_is_sent_once():
    """An expiry is sent once, as only success and failure are sent again."""
    receiver = Receiver(status=500)
    async with client_with(receiver) as client:
        await client.created("a [expire]", callback_url=HOOK)
        await anyio.sleep(1000)
    assert receiver.statuses == ["queued", "running", "expired"]


async def test_speed_scales_the_waiting():
    """At speed 60 the service's five seconds take a twelfth of a second."""
    receiver = Receiver(status=500)
    async with client_with(receiver, speed=60.0) as client:
        await client.created(callback_url=HOOK)
        await anyio.sleep(20)
    gaps = [b - a for a, b in pairwise(receiver.times[2:])]
    assert gaps == pytest.approx([5 / 60] * 3, abs=0.001)
    assert receiver.times[2] - receiver.times[0] == pytest.approx(0.5, abs=0.01)


async def test_callbacks_can_come_twice():
    """If all callbacks are doubled, each change is sent twice with the same body."""
    receiver = Receiver()
    async with client_with(receiver, callbacks_doubled=1.0) as client:
        await client.created(callback_url=HOOK)
        await anyio.sleep(60)
    assert receiver.statuses == ["queued", "queued", "running", "running", *["succeeded"] * 2]
    assert receiver.bodies[::2] == receiver.bodies[1::2]


async def test_callbacks_can_overtake_each_other():
    """If some callbacks are delayed, changes arrive out of order, the same for the same seed."""

    async def run(seed):
        receiver = Receiver()
        async with client_with(receiver, callbacks_held=0.5, seed=seed, concurrency=50) as client:
            for _ in range(50):
                await client.created(callback_url=HOOK)
            await anyio.sleep(200)
        statuses = {}
        for task in receiver.bodies:
            statuses.setdefault(task["id"], []).append(task["status"])
        return list(statuses.values())

    order = ["queued", "running", "succeeded"]
    first = await run(1)
    assert all(sorted(statuses) == order for statuses in first)
    assert 10 < sum(statuses != order for statuses in first) < 50
    assert sorted(await run(1)) == sorted(first)


async def test_a_slow_receiver_delays_no_other():
    """While a receiver is slow, creates work as usual and other callbacks are sent."""
    receiver = Receiver(seconds=4.9)
    async with client_with(receiver, concurrency=50) as client:
        began = anyio.current_time()
        for _ in range(50):
            await client.created(callback_url=HOOK)
        assert anyio.current_time() - began < 0.1
        await anyio.sleep(4.8)
        assert receiver.statuses == ["queued"] * 50
        await anyio.sleep(45)
    assert receiver.statuses[100:] == ["succeeded"] * 50


async def test_callbacks_of_cometapi_equal_its_get():
    """Callbacks of a task created through CometAPI's route have CometAPI's shorter form."""
    receiver = Receiver()
    async with client_with(receiver) as client:
        client.base = COMET
        task_id = await client.created(callback_url=HOOK)
        await anyio.sleep(60)
        assert (await client.get(task_id)).json() == receiver.bodies[-1]
    assert "usage" not in receiver.bodies[-1]


async def test_an_error_of_a_receiver_stops_nothing():
    """If sending raises an error, the other callbacks are still sent."""

    class Broken(Receiver):
        async def post(self, url, body):
            await super().post(url, body)
            raise httpx.ConnectError("refused")

    receiver = Broken()
    async with client_with(receiver) as client:
        await client.created(callback_url=HOOK)
        await anyio.sleep(100)
    assert len(receiver.bodies) == 6


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "example.test", "127.0.0.1.example.test", "[fe80::1]"]
)
async def test_no_other_machine_is_called(host):
    """A trial run with the real callback URL does not reach the real receiver."""
    with pytest.raises(OSError, match="not on this machine"):
        await post_on_loopback(f"http://{host}/hook", b"{}")


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["queued", "running", "succeeded", "failed"])),
        max_size=30,
    ),
    doubled=st.sampled_from([0.0, 0.5]),
    held=st.sampled_from([0.0, 0.5]),
    accepted=st.lists(st.booleans(), min_size=1, max_size=20),
)
def test_each_change_is_sent_until_accepted_and_one_of_a_task_at_a_time(
    changes, doubled, held, accepted
):
    """No callback is lost, no task sends two at once, and none is sent more than four times."""
    callbacks = Callbacks(1, doubled=doubled, held=held)
    for at, (task, status) in enumerate(changes):
        callback = Callback(task_id=str(task), status=status, url=HOOK, body=b"%d" % at)
        callbacks.put(callback, float(at))
    answers, under_way, sent = iter(accepted * 1000), [], {}
    while under_way or callbacks.next_at < float("inf"):
        now = callbacks.next_at
        if now < float("inf"):
            under_way += callbacks.due(now)
        assert len({callback.task_id for callback in under_way}) == len(under_way)
        callback = under_way.pop(0)
        sent.setdefault(callback.body, []).append(callback)
        following = callbacks.done(callback, min(now, 1e6), accepted=next(answers))
        under_way += [] if following is None else [following]
    assert len(sent) == len(changes)
    for tries in sent.values():
        again = 1 + REDELIVERIES if tries[0].status in {"succeeded", "failed"} else 1
        assert all(tries.count(callback) <= again for callback in tries)
