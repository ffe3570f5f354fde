"""Rules about the prompt of a spec, and about what a video can be made from without media."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from callsheet._catalog.check_context import CheckContext, problem


if TYPE_CHECKING:
    from collections.abc import Iterator

    from callsheet.errors import Problem


MOST_WORDS: Final = 4_000
MOST_CHARACTERS: Final = 32_000
"""The limits of this package. The provider only recommends at most 1000 English words or 500
Chinese characters (Ark create reference, August 2026) and answers no error: it cuts a prompt that
is too long, or does not follow it. Four times the recommended words are allowed here; a longer text
is probably a whole file given by mistake."""

_CONTROL: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD: Final = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")


def prompt_problems(context: CheckContext) -> Iterator[Problem]:
    """The prompt is present if it is needed, is readable text, and is not too long."""
    spec = context.spec
    if spec.prompt is None:
        if not (spec.media or spec.references or spec.draft_task is not None):
            yield problem("prompt", None, "a prompt, unless media or a draft_task are given")
        return
    if not spec.prompt.strip():
        yield problem("prompt", spec.prompt, "words; leave it out if the media say it all")
    if not spec.prompt.isprintable() and (found := _CONTROL.search(spec.prompt)):
        yield problem(
            "prompt",
            spec.prompt[max(0, found.start() - 20) : found.end() + 20],
            "text without control characters and halves of characters; line breaks are fine",
        )
    if len(spec.prompt) > MOST_CHARACTERS:
        yield _too_long(spec.prompt, f"it has {len(spec.prompt)} characters")
    elif (words := _words(spec.prompt)) > MOST_WORDS:
        yield _too_long(spec.prompt, f"it has {words} words")


def text_problems(context: CheckContext) -> Iterator[Problem]:
    """The model can do without media if there are none."""
    spec, model = context.spec, context.model
    if model is None or model.text:
        return
    if not (spec.media or spec.references or spec.draft_task is not None):
        yield problem("first_frame", None, f"a picture, or references: {model.name} needs one")


def _words(prompt: str) -> int:
    """The number of words, or at least one that is not less, if it is within the limit."""
    if len(prompt) <= MOST_WORDS:
        return len(prompt)
    return len(_WORD.findall(prompt))


def _too_long(prompt: str, length: str) -> Problem:
    return problem(
        "prompt",
        prompt,
        f"at most {MOST_WORDS} words (a Chinese character counts as one) and {MOST_CHARACTERS} "
        f"characters, {length}; the provider advises 1000 English words or 500 Chinese characters",
    )
