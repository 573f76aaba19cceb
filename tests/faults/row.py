"""row.py -- a line of the table: what is done, and what came of it."""

import dataclasses
import typing

from mill import Judgement


@dataclasses.dataclass
class Row:
    name: str
    run: typing.Callable  # (random, count) -> Result, or a text: why it cannot be tried here
    kills: float = 0  # its share of --kills
    proxy: float = 0  # its share of --proxy
    fixed: int = 0  # how many whatever was asked for
    long: bool = False  # only with --long

    def count(self, args):
        return self.fixed or max(1, self.share(args))

    def share(self, args):
        return round(self.kills * args.kills + self.proxy * args.proxy)

    def skipped(self, args):
        """When its share is below one, or --long is missing; not when it was named."""
        wanted = self.fixed or self.share(args)
        return self.name not in args.name and (not wanted or (self.long and not args.long))


@dataclasses.dataclass
class Result:
    count: int
    judgement: Judgement
    stalls: list  # (stall_s, resume_s) per fault
