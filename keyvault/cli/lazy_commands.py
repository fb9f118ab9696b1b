"""
Commands whose options are made when they are called.

Typer makes all parameters of all commands before it looks at the first word of a command line: two hundred of them
here, for the one command that runs, or for help that shows names only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import typer
from typer.core import TyperCommand

Function = TypeVar("Function", bound=Callable[..., Any])


class LateCommand(TyperCommand):
    """A command that asks its *function* for parameters when somebody asks the command."""

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        super().__init__(**settings)
        self._function = function
        # What these hold is of a stand-in; they are made when they are looked for.
        del self.params, self.callback

    def __getattr__(self, name: str) -> Any:
        if name not in ("params", "callback"):
            raise AttributeError(name)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        alone.command(self.name)(self._function)
        made = typer.main.get_command(alone)
        self.params, self.callback = made.params, made.callback
        return getattr(self, name)


class LateTyper(typer.Typer):
    """An app of such commands: ``app.command(NAME)(function)``, with a *cls* that is a LateCommand."""

    def command(
        self, name: str | None = None, *, cls: Any = LateCommand, **settings: Any
    ) -> Callable[[Function], Function]:
        """Return what registers a function as the command *name*, and hands it back."""

        def register(function: Function) -> Function:
            # Typer calls a class with what it found out of a function; this one finds nothing, and need not look.
            made = cast(type[TyperCommand], partial(cls, function))
            super(LateTyper, self).command(name, cls=made, help=function.__doc__, **settings)(_stand_in)
            return function

        return register


def _stand_in() -> None:
    """Be a function without parameters."""
