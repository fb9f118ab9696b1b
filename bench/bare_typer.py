"""The peer of the start-up rows: a Typer program with keyvault's settings that does nothing."""

import typer

app = typer.Typer(
    name="bare",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def _options() -> None:
    """Be a program with commands, as keyvault is."""


@app.command()
def hello() -> None:
    """Print one line."""
    print("hello")


app(prog_name="bare")
