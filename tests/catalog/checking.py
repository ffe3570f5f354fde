"""Helpers for tests of the preflight, and small values to build specs from."""

from __future__ import annotations

from callsheet._catalog import PROVIDERS, check
from callsheet._models.media import AudioRef, Image, VideoRef
from callsheet._models.provider import Provider


ANYWHERE = Provider(name="proxy", base_url="https://proxy.test", default_model="ep-20260101-abcde")
"""A provider of no known cloud, with an unknown model."""

PICTURE = Image("https://cdn.test/a.png")
CLIP = VideoRef("https://cdn.test/a.mp4")
SOUND = AudioRef("https://cdn.test/a.wav")


def problems(spec, provider=ANYWHERE, facts=None):
    """The problems that the preflight finds; *provider* may be a name."""
    provider = PROVIDERS[provider] if isinstance(provider, str) else provider
    return check(spec, provider=provider, facts=facts or {})


def wrong(spec, provider=ANYWHERE, facts=None):
    """The sorted names of the fields with problems."""
    return sorted({row.field for row in problems(spec, provider, facts)})


def allowed(spec, field, provider=ANYWHERE, facts=None):
    """The text of the only problem: what the field may be."""
    (text,) = [row.allowed for row in problems(spec, provider, facts) if row.field == field]
    return text
