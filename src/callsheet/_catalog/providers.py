"""The addresses that are known to speak the task API."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from callsheet._models.policy import Limits
from callsheet._models.provider import Provider


if TYPE_CHECKING:
    from collections.abc import Mapping


_CN_DEFAULT: Final = "doubao-seedance-1-5-pro-251215"

_ARK_LIMITS: Final = Limits(
    creates_per_minute=600, gets_per_second=20, lists_per_second=1, cancels_per_second=20
)
"""Create rate of the 1.5 pro row, and the other rates per account and call
(Seedance 2.5 tutorial, September 2026). BytePlus publishes none for get and list: the same."""

_PROVIDERS: Final = (
    Provider(
        name="cometapi",
        base_url="https://api.cometapi.com/volc/v3",
        dialect="comet",
        key_variable="COMETAPI_KEY",
        default_model=_CN_DEFAULT,
        # CometAPI has limits and publishes no number; these are ours, with room to spare.
        limits=Limits(
            creates_per_minute=300, gets_per_second=20, lists_per_second=1, cancels_per_second=20
        ),
        lists=None,  # not documented there: tried once
        token=False,  # whether safety_identifier passes is unknown
    ),
    Provider(
        name="ark",
        base_url="https://ark.cn-beijing.volces.com/api/v3",
        key_variable="ARK_API_KEY",
        default_model=_CN_DEFAULT,
        limits=_ARK_LIMITS,
        lists=True,
        token=True,
    ),
    Provider(
        name="byteplus",
        base_url="https://ark.ap-southeast.bytepluses.com/api/v3",
        key_variable="BYTEPLUS_API_KEY",
        default_model="seedance-1-5-pro-251215",
        limits=_ARK_LIMITS,
        lists=True,
        token=True,
    ),
    Provider(
        name="emulator",
        base_url="http://127.0.0.1:8787/api/v3",
        default_model=_CN_DEFAULT,
        limits=_ARK_LIMITS,
        lists=True,
        token=True,
        speed=60.0,
    ),
)

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType({row.name: row for row in _PROVIDERS})
"""Name to provider.

Sources: CometAPI's create and query references (2026), Ark create reference (August 2026), base
addresses of the official SDKs for both clouds. ``emulator`` is callsheet's own; when it is
embedded in the process it runs sixty times faster than life.
"""

CLOUDS: Final[Mapping[str, Literal["cn", "byteplus"]]] = {
    "cometapi": "cn",
    "ark": "cn",
    "byteplus": "byteplus",
}
"""Provider name to the cloud whose model ids it knows; keys and ids hold in one cloud only
(TanStack/ai probes of BytePlus, July 2026). A provider that is not listed may know both."""
