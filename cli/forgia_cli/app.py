"""What every command shares: settings, places, and the one way to talk to a person or a program."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from forgia import settings
from forgia.paths import HomePaths

if TYPE_CHECKING:
    from rich.progress import Progress

    from forgia.catalogue import Catalogue
    from forgia.client import Client

SCHEMA_VERSION = 1


class App:
    """Held in click's context; nothing is read before a command asks for it."""

    _bar: Progress | None = None
    """The bar that is on the terminal, above which talk must go."""

    @functools.cached_property
    def settings(self) -> settings.Settings:
        """Flags, environment, files and defaults, resolved."""
        return settings.load()

    @property
    def home(self) -> HomePaths:
        """Forgia's home folder."""
        return self.settings.home

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """Recipes, profiles and vocabularies in sight."""
        from forgia.catalogue import Catalogue

        return Catalogue(self.settings.catalogue)

    @functools.cached_property
    def client(self) -> Client:
        """The library, opened with these settings."""
        from forgia.client import Client

        return Client(self.settings)

    @property
    def is_terminal(self) -> bool:
        """A person sits there and can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")

    def say(self, text: str) -> None:
        """Talk, on stderr; above the bar, where there is one."""
        if self._bar is None:
            click.echo(text, err=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def out(self, text: str) -> None:
        """Data, on stdout."""
        click.echo(text)

    def show_json(self, value: dict[str, Any]) -> None:
        """Data for a program, on stdout."""
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2, ensure_ascii=False, default=str))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Aligned columns on stdout; numbers to the right."""
        click.echo(aligned(headers, rows))

    @contextlib.contextmanager
    def progress(self, title: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
        """A bar on stderr while the block runs, fed by the function it gives; nothing where no one looks."""
        if not sys.stderr.isatty():
            yield lambda _amount: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, *times, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            self._bar = bar
            try:
                yield lambda amount: bar.advance(task, amount)
            finally:
                self._bar = None


def aligned(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as text: columns two blanks apart, numbers aligned to the right, None as a dash."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    lines = [list(headers), *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headers))]
    numeric = [
        bool(rows) and all(isinstance(row[index], int | float | None) and row[index] is not True for row in rows)
        for index in range(len(headers))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def shown(value: Any) -> str:
    """A resolved value as text; what is not set or empty is a dash."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None or value == {} else str(value)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
