"""What the command line asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from callsheet._catalog import PROVIDERS
from callsheet._models.policy import Resubmit, SpendLimit
from callsheet._models.provider import Provider, without_secrets


@attrs.frozen(kw_only=True)
class RunRequest:
    """The options of one ``callsheet run``.

    Attributes:
        source: The file of specs.
        folder: Where videos and results go.
        provider: Name of the provider.
        base_url: The provider's address; ``None`` for the usual one.
        defaults: Values for fields that a spec does not set.
        samples: Videos of each spec; ``None`` for one with a plain name.
        limit: How many specs of the file to take; ``None`` for all.
        delay: Target for the seconds from the end of a task until the client notices it.
        connections: Most requests to the provider at once.
        parallel_downloads: Most downloads at once.
        transport: Another library than the client's own choice to carry requests and downloads.
        speed: How much faster than real time the emulator runs; ``None`` for the default.
        resubmit: What to do with a create if it cannot be known whether it made a task.
        journal_takeover: Whether the folder's journal may have been written with another key.
        spend: The spend limit.
        prices: What a million tokens of a model cost, by model id, such as ``"USD 2.4"``.
        quiet: Print only the summary.
        events: Print JSON events instead of text.
    """

    source: Path
    folder: Path
    provider: str
    base_url: str | None = attrs.field(repr=False)
    defaults: Mapping[str, Any]
    samples: int | None
    limit: int | None
    delay: float | None
    connections: int | None
    parallel_downloads: int
    transport: Literal["aiohttp"] | None
    speed: float | None
    resubmit: Resubmit
    journal_takeover: bool
    spend: SpendLimit
    prices: Mapping[str, str]
    quiet: bool
    events: bool

    @property
    def embedded(self) -> bool:
        """Whether the run starts its own emulator."""
        return self.provider == "emulator" and self.base_url is None

    @property
    def known_provider(self) -> Provider:
        """The provider as it is known by its name, with the prices of the user."""
        return attrs.evolve(PROVIDERS[self.provider], prices=self.prices)

    @property
    def label(self) -> str:
        """The provider, as the rows name it. It holds no secrets."""
        if self.base_url is None:
            return self.provider
        return f"{self.provider} at {without_secrets(self.base_url)}"
