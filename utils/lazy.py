"""Names of a package that are imported when they are asked for, so that its options come without what it works with."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562) by which a name is taken from the module that `modules` has for it."""

    def getattr_of_package(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return getattr_of_package
