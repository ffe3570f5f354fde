"""One account at a hostile provider: its tasks, what it does to creates, and its true bill.

It is written from the description of the wire alone and imports nothing of the package. It has no
clock and no connection: whoever serves it passes the time and carries out its answers.

The first word of a prompt says what happens to its creates, one after the other, such as
``lost.honest boat 3``; all further ones are ``honest``:

* ``honest``: a task is made, and the answer has its id.
* ``lost``, ``failed``: a task is made; the connection is closed, or the answer is a 502.
* ``dropped``, ``broken``: nothing is made; the connection is closed, or the answer is a 500.
* ``busy``: nothing is made; the answer is a 429.

In all other ways a task is made, and the answer has an id that is not simply that of the task:

* ``twin``: the id that another create got before, whose task is still unfinished.
* ``thief``: the id of another create's task whose own answer was lost.
* ``later``: the id of a task of another create which has ended.
* ``gateway``: an id of the gateway's own. A get of it answers with the upstream's id.
* ``foreign``: the id of a task of another user of the account.
* ``unknown``: an id that no task has.
* ``padded``, ``doubled``, ``upper``: the task's id with spaces, twice, or in capital letters.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from hostile.lies import MARK, Answer, Asked


if TYPE_CHECKING:
    from hostile.lies import Lie, Row


QUEUED, RENDERED = 2.0, 40.0
"""Seconds after its create at which a task starts to run, and at which it has ended."""

TOKENS = 108_900
STRANGERS = 3
"""Tasks of other users of the account; they are an hour old when the account is used first."""

CROWD, CROWD_AFTER = 700, 5.0
"""How many tasks other users make in a crowd, and how many seconds after a create got lost."""

CODES = {404: "ResourceNotFound", 409: "InvalidAction.RunningTaskDeletion"}


class Account:
    """The tasks of one account.

    Args:
        lie: How its lists lie; ``None``: there is no list.
        echo: Whether answers about single tasks show their marks.
    """

    def __init__(self, lie: Lie | None, *, echo: bool = True) -> None:
        self.lie, self.echo = lie, echo
        self.tasks: list[dict[str, Any]] = []
        self.began: float | None = None
        self.lists = 0
        self.posts: list[tuple[str, float]] = []
        self._rng = random.Random(1)
        self._crowd: list[Row] = []
        self._told: list[dict[str, Any]] = []
        self._aliases: dict[str, str] = {}

    def answer(
        self, verb: str, tail: str, query: dict[str, list[str]], order: Any, now: float
    ) -> Answer | None:
        """Answer one request; ``None``: the connection is closed.

        Args:
            verb: The HTTP method.
            tail: The id in the path, still quoted; empty for a create or a list.
            query: The query parameters.
            order: The JSON of the body.
            now: The time in Unix seconds.
        """
        if self.began is None:
            self.began = now
            self.tasks = [self._stranger(number, now) for number in range(STRANGERS)]
        if tail:
            return self._one(verb, unquote(tail), now)
        if verb == "POST":
            return self._create(order, now)
        return self._list(query, now)

    def bill(self) -> list[dict[str, Any]]:
        """Every task that was made for the caller: what it cost, and what it was made for."""
        return [
            {name: task[name] for name in ("id", "prompt", MARK, "created", "tier")}
            for task in self.tasks
            if task["prompt"]
        ]

    def shown(self, task: dict[str, Any], now: float) -> Row:
        """A task as the provider shows it now."""
        age = now - task["created"]
        status = task["end"] or ("queued" if age < QUEUED else "running")
        if task["end"] is None and age >= RENDERED:
            status = task["end"] = "succeeded"
        row = {"id": task["id"], "model": task["model"], "status": status}
        row |= {"created_at": int(task["created"]), "service_tier": task["tier"]}
        row["updated_at"] = int(task["created"] + min(max(age, 0), RENDERED))
        if task[MARK] is not None:
            row[MARK] = task[MARK]
        if status == "succeeded":
            row["content"] = {"video_url": f"http://videos.test/{quote(task['prompt'])}.mp4"}
            row["usage"] = {"completion_tokens": TOKENS, "total_tokens": TOKENS}
        return row

    def _make(self, order: dict[str, Any], now: float) -> dict[str, Any]:
        task = {
            "id": f"cgt-{len(self.tasks):05d}-{self._rng.randrange(10**6):06d}",
            "model": order["model"],
            "prompt": order["content"][0]["text"],
            "tier": order.get("service_tier", "default"),
            MARK: order.get(MARK),
            "created": now,
            "end": None,
        }
        self.tasks.append(task)
        return task

    def _stranger(self, number: int, now: float) -> dict[str, Any]:
        return {
            "id": f"cgt-other-{number}", "model": "doubao-seedance-1-5-pro-251215",
            "prompt": "", "tier": "default", MARK: f"user-{number}", "created": now - 3600,
            "end": "succeeded",
        }  # fmt: skip

    @staticmethod
    def _other(number: int, at: float) -> Row:
        """The row of a task that another user makes; most of them come while it is looked for."""
        row = {"id": f"cgt-crowd-{number}", "model": "doubao-seedance-1-5-pro-251215"}
        row |= {"status": "running", "service_tier": "default", MARK: f"crowd-{number}"}
        return row | dict.fromkeys(("created_at", "updated_at"), int(at + number * 0.01))

    def _create(self, order: dict[str, Any], now: float) -> Answer | None:
        prompt = order["content"][0]["text"]
        ways = prompt.split(" ", 1)[0].split(".")
        before = sum(prompt == each for each, _ in self.posts)
        self.posts.append((prompt, now))
        way = ways[before] if before < len(ways) else "honest"
        if self.lie is not None and self.lie.crowd and way != "honest" and not self._crowd:
            self._crowd = [self._other(number, now + CROWD_AFTER) for number in range(CROWD)]
        refusals = {"dropped": None, "busy": _error(429, "ServerOverloaded")}
        refusals["broken"] = _error(500, "InternalServiceError")
        if way in refusals:
            return refusals[way]
        task = self._make(order, now)
        losses = {"lost": None, "failed": Answer(502, "<html>bad gateway</html>")}
        if way in losses:
            return losses[way]
        body = {"id": self._id_told(way, task, now)}
        self._told.append(task)
        return Answer(200, body)

    def _id_told(self, way: str, task: dict[str, Any], now: float) -> str:
        changed = {"padded": f" {task['id']} ", "doubled": task["id"] * 2}
        changed |= {"upper": task["id"].upper(), "unknown": f"cgt-lost-{len(self.tasks)}"}
        changed["foreign"] = self.tasks[0]["id"]
        if way == "gateway":
            alias = f"task_ab{len(self.tasks)}"
            self._aliases[alias] = task["id"]
            return alias
        if way in {"twin", "thief", "later"}:
            return self._others(way, task, now)[0]
        return changed.get(way, task["id"])

    def _others(self, way: str, task: dict[str, Any], now: float) -> list[str]:
        """Ids of tasks that are not *task*, and at last its own."""
        others = [each for each in self.tasks if each["prompt"] not in {"", task["prompt"]}]
        if way == "thief":
            found = [each for each in others if each not in self._told]
        else:
            ended = [each for each in self._told if now - each["created"] >= RENDERED]
            told = [each for each in others if each in self._told]
            found = ended if way == "later" else [each for each in told if each not in ended]
        return [each["id"] for each in (*found, task)]

    def _one(self, verb: str, task_id: str, now: float) -> Answer:
        real = self._aliases.get(task_id, task_id)
        task = next((each for each in self.tasks if each["id"] == real), None)
        if task is None:
            return _error(404, CODES[404])
        row = self.shown(task, now)
        if verb == "GET":
            return Answer(200, row if self.echo else {k: v for k, v in row.items() if k != MARK})
        if row["status"] != "queued":
            return _error(409, CODES[409])
        task["end"] = "cancelled"
        return Answer(200, {})

    def _list(self, query: dict[str, list[str]], now: float) -> Answer:
        if self.lie is None:
            return Answer(404, "<html>no such page</html>")
        ids = query.get("filter.task_ids")
        asked = Asked(
            now=now,
            began=self.began or now,
            number=self.lists,
            num=int(query.get("page_num", ["1"])[0]),
            size=int(query.get("page_size", ["20"])[0]),
            ids=None if ids is None else frozenset(ids),
            tier=query.get("filter.service_tier", ["default"])[0],
        )
        self.lists += 1
        rows = [self.shown(task, now) for task in reversed(self.tasks)]
        rows += [row for row in reversed(self._crowd) if row["created_at"] <= now]
        rows.sort(key=lambda row: -row["created_at"])
        return self.lie.answer(rows, asked)


def _error(status: int, code: str) -> Answer:
    error = {"code": code, "message": "no", "param": "", "type": "BadRequest"}
    return Answer(status, {"error": error})
