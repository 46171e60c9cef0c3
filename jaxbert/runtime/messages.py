"""The messages of a run where no command shows them: plain lines, as the scripts print them."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from tqdm.auto import tqdm


class PlainLines(logging.Handler):
    """Messages as plain lines on standard output, above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(record.getMessage(), file=sys.stdout)
        except OSError:  # whoever read has gone; a training continues without
            self.on_reader_gone()

    def on_reader_gone(self) -> None:
        """Nobody reads standard output any more."""


@contextlib.contextmanager
def root_handlers_kept() -> Iterator[None]:
    """Within it, handlers that a library adds to the root logger are removed at the end.

    absl, by which Orbax logs, adds one where there is none; logging.basicConfig of the program
    would then do nothing.
    """
    before = list(logging.root.handlers)
    try:
        yield
    finally:
        for handler in [each for each in logging.root.handlers if each not in before]:
            logging.root.removeHandler(handler)


@contextlib.contextmanager
def shown_messages(*, quiet: bool) -> Iterator[None]:
    """Within it, what jaxbert logs is shown, by the handlers of its logger or else as plain lines.

    Nothing else of logging is changed, and afterwards all is as it was.

    Args:
        quiet: only warnings are shown, and no progress bar.
    """
    logger = logging.getLogger("jaxbert")
    level, propagate = logger.level, logger.propagate
    lines = PlainLines()
    if not logger.handlers:
        logger.addHandler(lines)
        logger.propagate = False  # the root logger may have a handler too; each line comes once
    if quiet or level == logging.NOTSET:
        logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        with root_handlers_kept():
            yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)
        logger.propagate = propagate
