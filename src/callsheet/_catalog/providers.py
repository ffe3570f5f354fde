"""The known providers of the task API."""

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
"""The create rate of 1.5 pro, and the other rates per account and API call (Seedance 2.5 tutorial,
September 2026). BytePlus publishes no rates for get and list, so the same ones are used."""

_PROVIDER_ROWS: Final = (
    Provider(
        name="cometapi",
        base_url="https://api.cometapi.com/volc/v3",
        dialect="comet",
        key_variable="COMETAPI_KEY",
        default_model=_CN_DEFAULT,
        # CometAPI has limits but does not publish them: these are cautious values of our own, and
        # the rate of gets is probed at run time.
        limits=Limits(creates_per_minute=300, lists_per_second=1, cancels_per_second=20),
        lists=None,  # lists are not documented there, so the client tries once
        token=False,  # it is not known whether CometAPI passes safety_identifier on
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

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {row.name: row for row in _PROVIDER_ROWS}
)
"""Name to provider.

Sources: CometAPI's create and query references (2026), Ark create reference (August 2026), base
URLs of the official SDKs for both clouds. ``emulator`` is callsheet's own; inside the process it
runs sixty times faster than real time.
"""

CLOUDS: Final[Mapping[str, Literal["cn", "byteplus"]]] = {
    "cometapi": "cn",
    "ark": "cn",
    "byteplus": "byteplus",
}
"""Provider name to the cloud whose model ids it accepts. Keys and ids are valid in one cloud only
(TanStack/ai probes of BytePlus, July 2026). A provider that is not listed may accept both."""
