"""Packages whose names are imported when they are first asked for.

A program needs little of the package before it opens a client, and the emulator needs nothing of
it. Imported whole, the package takes more than twice as long as its four dependencies together
(``benchmarks/bench_import.py``).
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def names_of(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package.

    Type checkers must not see it, or they would let every misspelt name pass.

    Args:
        package: Its name.
        homes: Module of the package to the names that come from there. A name that is equal to its
            module means the module.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = home_of[name]
        module = import_module(f"{package}.{home}")
        value = module if home == name else getattr(module, name)
        setattr(sys.modules[package], name, value)  # not asked for again
        return value

    return get
