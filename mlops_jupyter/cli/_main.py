"""The group of all commands, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from mlops_jupyter._version import __version__
from mlops_jupyter.errors import MlopsError

from ._output import plain, sentence

COMMANDS = {
    "init": "workspace",
    "doctor": "workspace",
    "sync": "workspace",
    "gc": "workspace",
    "demo": "demo",
    "runs": "runs",
    "lineage": "lineage",
    "gather": "lineage",
    "convert": "convert",
    "run": "run",
    "register": "models",
    "models": "models",
    "submit": "jobs",
    "jobs": "jobs",
}
"""Command -> module that defines it, so that ``mlops --help`` and completion import none of them."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        from importlib import import_module

        command: click.Command = getattr(import_module(f"{__package__}.{module}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(COMMANDS)}."
            raise click.UsageError(f"There is no verb {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 a cell raised, 2 bad input, 3 a check said no, 4 drift found, 5 unreachable, "
    "75 try again, 124 timed out, 130/143 interrupted.",
)
@click.version_option(__version__, prog_name="mlops")
def cli() -> None:
    """From a notebook cell to tracked, reproducible, deployable models."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of the contract."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(invoke(arguments))


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Expected errors become one sentence on standard error."""
    try:
        result = cli.main(args=None if arguments is None else list(arguments), prog_name="mlops", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        where = f" See: {context.command_path} --help" if context else ""
        click.echo(f"mlops: {sentence(error.format_message())}{where}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("mlops: interrupted.", err=True)
        return 130
    except _Terminated:
        click.echo("mlops: terminated.", err=True)
        return 143
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away: nothing is wrong, and nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MlopsError as error:
        if os.environ.get("MLOPS_DEBUG") == "1":
            raise
        click.echo(f"mlops: {sentence(error)}", err=True)
        return error.exit_code
    except OSError as error:
        if os.environ.get("MLOPS_DEBUG") == "1":
            raise
        if error.errno in _BAD_PATH:
            name = f"{str(error.filename)[:100]!r}: " if error.filename is not None else ""
            click.echo(f"mlops: {plain(name)}{error.strerror}. Give the path of another file.", err=True)
            return 2
        click.echo(f"mlops: {plain(str(error))}. Set MLOPS_DEBUG=1 to see where.", err=True)
        return 75
    return result if isinstance(result, int) else 0


_BAD_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})
"""What is wrong with a path that somebody gave, however often it is tried."""


class _Terminated(BaseException):
    """SIGTERM as an exception, so that ``finally`` blocks run."""


def _terminated(signum: int, frame: FrameType | None) -> Any:  # noqa: ARG001 - signature of a signal handler
    raise _Terminated
