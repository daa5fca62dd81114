"""Groups of verbs that list where no verb is given."""

from __future__ import annotations

from typing import Any

import click


class ListingGroup(click.Group):
    """Without a verb the group's ``list`` is meant: ``mlops runs --json`` is ``mlops runs list --json``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("subcommand_metavar", "[COMMAND] [ARGS]...")
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``list`` first where the first word is no verb but an option, or where there is no word."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            if args[:1] == ["--json"] and args[1:2] and args[1] in self.commands:
                raise click.UsageError(f"--json belongs behind the verb: {ctx.command_path} {args[1]} … --json", ctx)
            args = ["list", *args]
        return super().parse_args(ctx, args)
