"""The command line: a tree of commands, each imported when it is asked for, and the one place where errors are told."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from forgia.errors import ForgiaError, nearest
from forgia_cli.app import App

TREE: Mapping[str, Any] = {
    "init": ("init:init", "Make a recipe folder of your own from one of the catalogue."),
    "check": ("check:check", "Check a recipe, its data and the profile; every problem at once."),
    "plan": ("plan:plan", "Show script, cost and origin of each value; send nothing."),
    "run": ("run:run", "Submit, wait, collect: from recipe to registered model."),
    "submit": ("submit:submit", "Send a recipe to the scheduler and come back at once."),
    "sweep": (
        "A recipe at many points of its parameters, as one array job.",
        {
            "run": ("sweep.run:run", "Run a recipe at many points; register the best."),
            "show": ("sweep.show:show", "Show a sweep: points, figures, states."),
            "list": ("sweep.list:list_", "List the sweeps."),
            "retry": ("sweep.retry:retry", "Send the members that failed once more."),
            "cancel": ("sweep.cancel:cancel", "End what has not ended."),
        },
    ),
    "bench": (
        "What a recipe and a cluster do together, measured.",
        {"scaling": ("bench.scaling:scaling", "Train some steps at several sizes; show how the speed grows.")},
    ),
    "collect": ("collect:collect", "Put finished releases into the registry."),
    "predict": ("predict:predict", "Score new data with a registered model."),
    "demo": ("demo:demo", "The whole way, on generated data of three firms."),
    "recipe": (
        "Recipes of the catalogue and your own.",
        {
            "list": ("recipe.list:list_", "List the recipes in sight."),
            "show": ("recipe.show:show", "Show a recipe: data contract, parameters, settings."),
            "check": ("check:check", "Check a recipe, its data and the profile; every problem at once."),
            "schema": ("recipe.schema:schema", "Print the JSON schema of recipe.yaml."),
        },
    ),
    "dataset": (
        "Datasets: add your exports, look at them, verify them.",
        {
            "add": ("dataset.add:add", "Read an export, bind its columns, store it as Parquet."),
            "list": ("dataset.list:list_", "List the datasets."),
            "show": ("dataset.show:show", "Show a dataset: columns, units, quality."),
            "verify": ("dataset.verify:verify", "Digest every file again."),
            "prepare": ("dataset.prepare:prepare", "Make the data of a recipe ready to be mapped into memory."),
        },
    ),
    "vocabulary": (
        "The shared vocabulary of concepts and units.",
        {
            "list": ("vocabulary.list:list_", "List or search the concepts."),
            "show": ("vocabulary.show:show", "Show a concept."),
        },
    ),
    "job": (
        "Runs: where they stand, what they print, how to end them.",
        {
            "list": ("job.list:list_", "List the runs."),
            "show": ("job.show:show", "Show a run: states, reasons, results."),
            "logs": ("job.logs:logs", "Print what the ranks wrote; -f follows."),
            "why": ("job.why:why", "Say why a run stands where it stands, and what to do."),
            "wait": ("job.wait:wait", "Wait for runs, then collect their releases."),
            "cancel": ("job.cancel:cancel", "End runs."),
            "retry": ("job.retry:retry", "Another attempt, from the last checkpoint."),
        },
    ),
    "model": (
        "Versioned models of the registry.",
        {
            "list": ("model.list:list_", "List the models."),
            "show": ("model.show:show", "Show a model: figures, data, recipe, files."),
            "pull": ("model.pull:pull", "Copy a model's files to a folder."),
            "verify": ("model.verify:verify", "Digest every byte of a model again."),
            "alias": ("model.alias:alias", "Point a movable name at a version."),
        },
    ),
    "quota": (
        "Budgets: who may use how much, and what was used.",
        {
            "init": ("quota.init:init", "Make the ledger; you become its first staff."),
            "show": ("quota.show:show", "Show budgets, a firm a line: used, held, left, pace, end."),
            "grant": ("quota.grant:grant", "Give a budget, or a part of one."),
            "extend": ("quota.extend:extend", "Make a grant last longer, or larger."),
            "transfer": ("quota.transfer:transfer", "Move what is free from one grant to another."),
            "freeze": ("quota.freeze:freeze", "Give no new holds on a grant."),
            "unfreeze": ("quota.unfreeze:unfreeze", "Give holds on a frozen grant again."),
            "close": ("quota.close:close", "End a grant; what is left goes back."),
            "ceiling": ("quota.ceiling:ceiling", "Cap GPUs, jobs or storage of a holder."),
            "role": ("quota.role:role", "Give a user a role, or take it back."),
            "roles": ("quota.roles:roles", "List who has which role where."),
            "token": ("quota.token:token", "Make a token with a role, for a service."),
            "request": ("quota.request:request", "Ask for a budget, or for more of one."),
            "requests": ("quota.requests:requests", "List what waits for approval."),
            "approve": ("quota.approve:approve", "Approve what somebody else asked for."),
            "reject": ("quota.reject:reject", "Turn a request down."),
            "holds": ("quota.holds:holds", "List what is reserved for jobs."),
            "settle": ("quota.settle:settle", "Charge what SLURM's accounting says was used."),
            "quarantine": ("quota.quarantine:quarantine", "List rows of the accounting that nobody could judge."),
            "entries": ("quota.entries:entries", "The audit trail: who, when, why, how much."),
            "adjust": ("quota.adjust:adjust", "Correct what was charged, towards the site's count."),
            "reverse": ("quota.reverse:reverse", "Post the opposite of a posting."),
            "verify": ("quota.verify:verify", "Check the chain and replay every posting."),
            "setting": ("quota.setting:setting", "Show or change the ledger's settings, such as four eyes."),
            "report": ("quota.report:report", "Tell a month, a row for each charged attempt."),
            "invoice": ("quota.invoice:invoice", "Tell what one organisation used in a month."),
            "forecast": ("quota.forecast:forecast", "Tell when budgets will be used up."),
            "alerts": ("quota.alerts:alerts", "Tell what staff should know today."),
            "pace": ("quota.pace:pace", "Tell who is ahead, who is behind, and who yields."),
            "what-if": ("quota.what_if:what_if", "Tell what one run would do to your budget."),
            "sync": ("quota.sync:sync", "Write budgets into SLURM as limits; for operators."),
        },
    ),
    "profile": (
        "Cluster profiles.",
        {
            "list": ("profile.list:list_", "List the profiles in sight."),
            "show": ("profile.show:show", "Show a profile."),
            "check": ("profile.check:check", "Check a profile file."),
            "probe": ("profile.probe:probe", "Compare a profile with the live cluster; write a verified copy."),
        },
    ),
    "environment": (
        "Python environments, built once for nodes without internet.",
        {
            "build": ("environment.build:build", "Build the environment of a recipe's lock into one file."),
            "list": ("environment.list:list_", "List the environments that are built."),
            "show": ("environment.show:show", "Show a built environment: base, size, packages."),
        },
    ),
    "config": ("config:config", "Show the settings and where each came from."),
    "share": ("share:share", "Open this home to a Unix group, or close it."),
    "completion": ("completion:completion", "Print the shell completion script."),
}
"""Name → (module:attribute, one line of help), or for a noun → (one line of help, its verbs)."""
USUAL_VERBS = {"sweep": "run"}
"""The verb of a noun that need not be said: ``forgia sweep RECIPE``."""


class LazyGroup(click.Group):
    """A group that imports a command when it is used; the one line shown in lists is in the tree, so that help
    imports nothing."""

    def __init__(self, *args: Any, tree: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tree = tree

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the tree, which is the order of the story."""
        return list(self.tree)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, imported."""
        if cmd_name not in self.tree:
            return None
        first, second = self.tree[cmd_name]
        if isinstance(second, Mapping):
            return LazyGroup(cmd_name, tree=second, help=first, short_help=first)
        module, attribute = first.split(":")
        command: click.Command = getattr(importlib.import_module(f"forgia_cli.{module}"), attribute)
        command.name = cmd_name
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with the verb that need not be said."""
        verb = USUAL_VERBS.get(self.name or "")
        is_said = not args or args[0] in (*self.tree, "-h", "--help")
        return super().parse_args(ctx, args if verb is None or is_said else [verb, *args])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name for a slip of the hand."""
        if args and args[0] not in self.tree and not args[0].startswith("-"):
            close = nearest(args[0], self.tree)
            ctx.fail(f"no command {args[0]!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and their lines from the tree, without importing any command."""
        rows = [(name, second if isinstance(second, str) else first) for name, (first, second) in self.tree.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, tree=TREE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="forgia", message="forgia %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """From a firm's CSV to a versioned model on SLURM GPU nodes.

    \b
    forgia dataset add mill-7 export.csv
    forgia init mill-failures --from predictive-maintenance --data mill-7
    forgia run
    """
    ctx.obj = App()


def main() -> None:
    """Run the command line and end the process with the documented exit code."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Run one command; every failure becomes words on stderr and an exit code."""
    os.umask(0o077)
    try:
        result = cli.main(args=arguments, prog_name="forgia", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit:
        return 0  # click leaves so, with a mute stdout, when a reader such as `head` has gone
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 — the command line is where the unexpected ends
        return told(*explained(error))
    return result if isinstance(result, int) else 0


NO_ROOM = "make room (forgia config shows where forgia's home is), then give the same command again"
NEXT = {errno.ENOSPC: NO_ROOM, errno.EDQUOT: NO_ROOM}
"""Error of the system → what to do next."""


def explained(error: BaseException) -> tuple[str, str | None, int]:
    """What to say of a failure, what to do next, and the exit code."""
    if isinstance(error, ForgiaError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        return "interrupted", None, 130
    if isinstance(error, OSError):
        place = error.filename2 or error.filename  # of a copy, the second is what was written
        words = ["the system refused", *([f"{place}"] if place else []), error.strerror or str(error)]
        return ": ".join(words), NEXT.get(error.errno or 0), 1
    return "this is a bug in forgia, not in your input", f"please report it with {bug_report()}", 1


def told(message: str, hint: str | None, code: int) -> int:
    """Say what went wrong and what to do next, on stderr."""
    click.echo(f"error: {message}" if code != 130 else message, err=True)
    if hint:
        click.echo(f"next: {hint}", err=True)
    return code


def bug_report() -> str:
    """Write the traceback to a file (to stderr where even that fails) and name it."""
    import tempfile
    import traceback

    text = f"forgia {' '.join(sys.argv[1:2])}\n{traceback.format_exc()}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="forgia-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
            return file.name
    except OSError:
        return text


if __name__ == "__main__":
    main()
