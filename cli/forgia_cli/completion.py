"""``forgia completion``: the shell's completion script, made by click."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(app: App, *, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    eval "$(forgia completion bash)"
    """
    from click.shell_completion import get_completion_class

    from forgia_cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    app.out(found(cli, {}, "forgia", "_FORGIA_COMPLETE").source())
