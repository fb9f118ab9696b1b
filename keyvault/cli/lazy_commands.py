"""
Commands whose parameters are built when they are first used.

Typer builds the parameters of all commands before it reads the first word of a command line: two hundred here, for
the single command that runs, or for a help text that lists names only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import typer
from typer.core import TyperCommand

Function = TypeVar("Function", bound=Callable[..., Any])


class LazyCommand(TyperCommand):
    """A command that builds its parameters from *function* at the first access to them."""

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        super().__init__(**settings)
        self._function = function
        # These were built for the placeholder. Without them, the first access calls __getattr__.
        del self.params, self.callback

    def __getattr__(self, name: str) -> Any:
        if name not in ("params", "callback"):
            raise AttributeError(name)
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(self.name)(self._function)
        command = typer.main.get_command(app)
        self.params, self.callback = command.params, command.callback
        return getattr(self, name)


class LazyTyper(typer.Typer):
    """An app of lazy commands: ``app.command(NAME)(function)``, where *cls* is a subclass of LazyCommand."""

    def command(
        self, name: str | None = None, *, cls: Any = LazyCommand, **settings: Any
    ) -> Callable[[Function], Function]:
        """Return a decorator that registers a function as the command *name*, and returns it unchanged."""

        def register(function: Function) -> Function:
            # Typer inspects the function that it registers: the placeholder has nothing to inspect, which is fast.
            with_function = cast(type[TyperCommand], partial(cls, function))
            super(LazyTyper, self).command(name, cls=with_function, help=function.__doc__, **settings)(_placeholder)
            return function

        return register


def _placeholder() -> None:
    """Take no parameters."""
