"""The commands and their options.

Each command imports what it needs when it runs: ``--version`` and ``--help`` need none of it.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from json import loads
from math import fsum
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from shlex import quote
from typing import Annotated, Any, Literal, cast

import anyio
from attrs import evolve
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from callsheet import __version__
from callsheet._cli.options import Defaults
from callsheet._cli.printing import BAD_INPUT, INTERRUPTED, put_line
from callsheet._cli.refusal import Refusal
from callsheet._models.policy import Resubmit  # noqa: TC001 - cyclopts reads the annotations
from callsheet._models.spend import Price
from callsheet.errors import CallsheetError, ConfigurationError


_MOST_FAULTS = 20

ProviderName = Literal["cometapi", "ark", "byteplus", "emulator"]
Count = Annotated[int | None, Parameter(validator=Number(gte=1))]
Positive = Annotated[float | None, Parameter(validator=Number(gt=0))]
Money = Annotated[float | None, Parameter(validator=Number(gte=0, lte=1e12))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Whole = Annotated[int | None, Parameter(validator=Number(gte=0))]

app = App(
    name="callsheet",
    help="Turn a file of prompts into Seedance videos.",
    version=__version__,
    version_flags=["--version"],
    help_format="plaintext",
)


def start(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:  # cyclopts has printed it
        return BAD_INPUT
    except Refusal as exc:
        return _refuse(exc.lines())
    except ConfigurationError as exc:
        return _refuse([str(exc)])
    except CallsheetError as exc:
        put_line(f"error: {exc}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


@app.command
def run(
    file: Path,
    /,
    *,
    out: Path,
    provider: ProviderName = "cometapi",
    base_url: str | None = None,
    samples: Count = None,
    limit: Count = None,
    delay: Positive = None,
    connections: Count = None,
    parallel_downloads: Annotated[int, Parameter(validator=Number(gte=1))] = 4,
    transport: Literal["httpx", "aiohttp"] = "httpx",
    speed: Positive = None,
    max_usd: Money = None,
    max_cny: Money = None,
    max_tasks: Whole = None,
    max_tokens: Whole = None,
    prices: Path | None = None,
    resubmit: Resubmit = "if-absent",
    journal_takeover: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    defaults: Defaults | None = None,
) -> int:
    """Make the video of every prompt in FILE; run it again to go on where it stopped.

    Args:
        file: .txt with one prompt a line, .jsonl or .csv with the fields of TaskSpec.
        out: Folder for the videos, results.jsonl and the journal.
        provider: Who renders. emulator rehearses without a key and without cost. Keys are read
            from COMETAPI_KEY, ARK_API_KEY or BYTEPLUS_API_KEY.
        base_url: Another address that speaks the provider's API.
        samples: Videos of each prompt, named <prompt>-0.mp4, <prompt>-1.mp4, …
        limit: Take only the first specs of the file.
        delay: Seconds between the end of a task and its being noticed, to aim for.
        connections: Most requests to the provider at once.
        parallel_downloads: Most downloads at once.
        transport: What carries requests and downloads. aiohttp takes less CPU time, which pays for
            thousands of specs and for large videos: pip install "callsheet[fast]".
        speed: How much faster than life the emulator runs.
        max_usd: Most US dollars that may be spent into the folder; what would pass it is not sent.
        max_cny: The same in yuan.
        max_tasks: Most videos that may be bought into the folder; works where no price is known.
        max_tokens: Most tokens that may be bought into the folder; the same.
        prices: JSON file of what a million tokens of a model cost you: {"MODEL": "USD 2.4", …}.
        resubmit: When a create whose answer was lost is sent again. always: also where nobody can
            say whether it made a task, which may then be billed twice.
        journal_takeover: Go on with a folder whose journal was written with another key of the same
            account. The new key owns it from then on.
        dry_run: Check FILE and say what it may cost; nothing is sent or written.
        quiet: Say only how it ended.
        json: Print one JSON event a line.
        defaults: What specs hold that do not say it themselves.
    """
    from callsheet import SpendLimit
    from callsheet._cli.estimates import estimate_order
    from callsheet._cli.run import run as make_videos
    from callsheet._cli.run_request import RunRequest

    if speed is not None and provider != "emulator":
        return _refuse(["--speed is for --provider emulator; nothing else can be made faster"])
    request = RunRequest(
        source=file,
        folder=out,
        provider=provider,
        base_url=base_url or os.environ.get("CALLSHEET_BASE_URL") or None,
        defaults=(defaults or Defaults()).given(),
        samples=samples,
        limit=limit,
        delay=delay,
        connections=connections,
        parallel_downloads=parallel_downloads,
        transport=None if transport == "httpx" else transport,
        speed=speed,
        resubmit=resubmit,
        journal_takeover=journal_takeover,
        spend=SpendLimit(usd=max_usd, cny=max_cny, tasks=max_tasks, tokens=max_tokens),
        prices=_read_prices(prices),
        quiet=quiet,
        events=json,
    )
    return anyio.run(estimate_order if dry_run else make_videos, request)


@app.command
def check(
    file: Path,
    /,
    *,
    provider: ProviderName = "cometapi",
    limit: Count = None,
    prices: Path | None = None,
    defaults: Defaults | None = None,
) -> int:
    """Say everything that is wrong with FILE, or what it may cost; nothing is sent.

    Args:
        file: .txt with one prompt a line, .jsonl or .csv with the fields of TaskSpec.
        provider: For whom it is meant.
        limit: Look only at the first specs of the file.
        prices: JSON file of what a million tokens of a model cost you: {"MODEL": "USD 2.4", …}.
        defaults: What specs hold that do not say it themselves.
    """
    from callsheet._catalog import PROVIDERS
    from callsheet._cli.estimates import estimates_of, summary
    from callsheet._cli.plan import entries_of

    priced = evolve(PROVIDERS[provider], prices=_read_prices(prices))
    entries = anyio.run(
        partial(
            entries_of,
            file,
            provider=priced,
            defaults=(defaults or Defaults()).given(),
            limit=limit,
        )
    )
    count = "1 spec" if len(entries) == 1 else f"{len(entries)} specs"
    put_line(f"{file}: {count}, nothing wrong for {provider}")
    for line in summary(file, estimates_of(entries, priced)):
        put_line(line)
    return 0


@app.command
def resolve(
    folder: Path,
    spec: str,
    /,
    *,
    task_id: str | None = None,
    none: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say what became of an uncertain create, after a look at the account's own pages.

    Args:
        folder: The --out folder of the run. No run may use it now.
        spec: Which one: the number of its line in results.jsonl, or its whole prompt. If it has
            several uncertain creates, LINE/CREATE.
        task_id: The task that it has made; the next run fetches its video.
        none: It has made no task; the next run sends it again. If that is wrong, it is paid twice.
        json: Print one JSON object.
    """
    from callsheet._cli.resolving import Resolution
    from callsheet._cli.resolving import resolve as write_down

    if none == (task_id is not None):
        return _refuse(["say what became of it: either --task-id ID, or --none"])
    if task_id is not None and not task_id.strip():
        return _refuse([f"--task-id {task_id!r} is no task id"])
    given = None if task_id is None else task_id.strip()
    return anyio.run(write_down, Resolution(folder=folder, name=spec, task_id=given, events=json))


@app.command
def emulate(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8787,
    speed: Annotated[float, Parameter(validator=Number(gt=0))] = 1.0,
    seed: int = 0,
    concurrency: Count = None,
    failure_rate: Share = 0.0,
    lost_creates: Share = 0.0,
    lost_answers: Share = 0.0,
    late_creates: Share = 0.0,
    prices: Path | None = None,
    faults: Path | None = None,
) -> int:
    """Serve an emulated provider on this machine until Ctrl-C.

    Args:
        port: TCP port; 0 for a free one.
        speed: How much faster than life it runs.
        seed: The same seed gives the same run again.
        concurrency: Tasks rendered at once; the provider's own number otherwise.
        failure_rate: Share of tasks that fail, 0 to 1.
        lost_creates: Share of creates that never arrive, 0 to 1; their connection is reset.
        lost_answers: Share of creates that make their task, but whose answer is lost, 0 to 1.
        late_creates: Share of creates whose answer is lost and whose task is made 120 s later.
        prices: JSON file of what a million tokens of a model cost: {"MODEL": "USD 2.4", …}.
        faults: JSON file with a list of other things that go wrong.
    """
    try:
        from callsheet.emulator import Fault, Settings, serve
    except ModuleNotFoundError:
        return _refuse(['the emulator needs more: pip install "callsheet[emulator]"'])
    shares = {"lost": lost_creates, "taken": lost_answers, "late": late_creates}
    if (total := fsum(shares.values())) > 1:
        words = "--lost-creates, --lost-answers and --late-creates share out the creates"
        return _refuse([f"{words}: at most 1 together, not {total:g}"])
    billed = _read_prices(prices)
    rules = [Fault(request=kind, share=share) for kind, share in shares.items() if share]
    try:
        settings = Settings(
            speed=speed,
            seed=seed,
            concurrency=concurrency,
            failure_rate=failure_rate,
            prices=billed,
            faults=[*rules, *(_read_list(faults) if faults is not None else ())],
        )
    except OSError as exc:
        return _refuse([f"{faults}: {exc.strerror or exc}"])
    except (TypeError, ValueError) as exc:
        return _refuse([f"{faults}: {exc}"])
    try:
        serve(settings, port=port, on_ready=partial(_announce, speed=speed, prices=prices))
    except OSError as exc:
        return _refuse([f"port {port}: {exc.strerror or exc}"])
    return 0


def _read_list(file: Path) -> list[dict[str, Any]]:
    """Read a JSON file that holds a list.

    Raises:
        OSError: The file cannot be read.
        TypeError: The JSON value is not a list.
        ValueError: The file is not JSON, or not UTF-8.
    """
    found: object = loads(file.read_text("utf-8"))
    if not isinstance(found, list):
        raise TypeError("a list is expected")
    return cast("list[dict[str, Any]]", found)


def _read_prices(file: Path | None) -> dict[str, str]:
    """Read a JSON file of prices.

    Raises:
        ConfigurationError: It cannot be read, or holds something else.
    """
    if file is None:
        return {}
    try:
        found: object = loads(file.read_text("utf-8"))
        if not isinstance(found, dict):
            raise TypeError('an object is expected, such as {"MODEL": "USD 2.4"}')  # noqa: TRY301
        prices = cast("dict[str, str]", found)
        for price in prices.values():
            Price.read(price)
    except OSError as exc:
        raise ConfigurationError(f"{file}: {exc.strerror or exc}") from exc
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(f"{file}: {exc}") from exc
    return prices


def _announce(origin: str, *, speed: float, prices: Path | None) -> None:
    put_line(f"emulating at {origin}, Ctrl-C ends it; any key will do. In another terminal:")
    # the client cannot find out the speed and the prices by itself
    speed_option = "" if speed == 1 else f" --speed {speed:.15g}"
    prices_option = "" if prices is None else f" --prices {quote(str(prices))}"
    command = "callsheet run FILE --out DIR --provider emulator --base-url"
    put_line(f"  {command} {origin}/api/v3{speed_option}{prices_option}")


def _refuse(lines: list[str]) -> int:
    for line in lines[:_MOST_FAULTS]:
        put_line(line, sys.stderr)
    if (rest := len(lines) - _MOST_FAULTS) > 0:
        put_line(f"… and {rest} more", sys.stderr)
    return BAD_INPUT
