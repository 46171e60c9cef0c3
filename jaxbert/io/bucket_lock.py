"""A lock on a folder in a bucket, where no operating system holds one."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

from jaxbert.io.bucket import Bucket, BucketError, ChangedError
from jaxbert.io.untrusted import shown

logger = logging.getLogger("jaxbert")

_LOCK = ".lock"
_CLOCK = ".clock"  # written to learn the server's time
RENEWED = 15.0  # seconds from one sign of life of the owner to the next
DEAD = 90.0  # seconds without one, after which another run may take the lock


class LockLostError(BucketError):
    """Another run has the lock: nothing more may be written, now or later."""


def _now() -> float:
    """Seconds by a clock that also runs while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class BucketLock:
    """An object that says who writes under an address.

    Its owner writes it again every 15 seconds. One that has not been written for 90 seconds is a
    dead owner's, and is taken over. Every write asks that the object be the one that this owner
    wrote before, so of two that want it one gets it, and an owner that was taken for dead notices.

    Args:
        bucket: of the folder.
        named: the flag and the address, for messages.
        renewed, dead: see RENEWED and DEAD.
    """

    def __init__(
        self, bucket: Bucket, named: str, *, renewed: float = RENEWED, dead: float = DEAD
    ) -> None:
        self._bucket, self._named = bucket, named
        self._every, self._dead = renewed, dead
        self._me = uuid.uuid4().hex
        self._version = ""
        self._lost = ""
        self._renewed_at = 0.0
        self._renewing = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object has taken the lock, and not given it back."""
        return self._thread is not None

    def acquire(self) -> None:
        """Take the lock; of an owner that may be dead, wait until that is known.

        Raises:
            BucketError: another run has it, or the bucket cannot be written.
        """
        self._renewed_at = _now()
        try:
            self._version = self._write("")
        except ChangedError:
            self._version = self._take_over()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _take_over(self) -> str:
        """Wait until the owner shows itself or is dead; returns the version of our own object."""
        seen = self._bucket.stat(_LOCK)
        if seen is not None:
            if (version := self._own_version()) is not None:
                return version
            silent = self._seconds_since(seen.modified.timestamp())
            until, waits = time.monotonic() + self._dead - silent, False
            while (left := until - time.monotonic()) > 0:
                if not waits:
                    waits = True
                    logger.info("%s: waiting, as another run may be writing there", self._named)
                time.sleep(min(left, self._every / 3))
                now = self._bucket.stat(_LOCK)
                if now is None:
                    break
                if now.version != seen.version:
                    raise self._held_by(self._owner())
            else:
                now = seen
            seen = now
        self._renewed_at = _now()
        try:
            return self._write(seen.version if seen is not None else "")
        except ChangedError:
            if (version := self._own_version()) is not None:
                return version
            raise self._held_by(self._owner()) from None

    def _held_by(self, owner: dict[str, str]) -> BucketError:
        where = f"{owner.get('host', 'unknown')}, process {owner.get('process', 'unknown')}"
        return BucketError(
            f"{self._named}: another run is writing there ({shown(where)}); wait for its end, or "
            f"give another folder; a run that has died leaves it free after {self._dead:.0f} s"
        )

    def _owner(self) -> dict[str, str]:
        content = self._bucket.read(_LOCK) or b"{}"
        try:
            raw = json.loads(content)
        except ValueError:
            return {}
        return {str(n): str(x) for n, x in raw.items()} if isinstance(raw, dict) else {}

    def _own_version(self) -> str | None:
        """The object's version where it is ours, as after a write that was done and not answered;
        else None."""
        found = self._bucket.stat(_LOCK)
        is_ours = found is not None and self._owner().get("id") == self._me
        return found.version if found is not None and is_ours else None

    def _seconds_since(self, moment: float) -> float:
        """By the server's clock alone: this machine's may be wrong."""
        self._bucket.write(_CLOCK, b"")
        now = self._bucket.stat(_CLOCK)
        self._bucket.remove([_CLOCK])
        return max(0.0, now.modified.timestamp() - moment) if now is not None else 0.0

    def _write(self, instead_of: str) -> str:
        content = {
            "id": self._me,
            "host": socket.gethostname(),
            "process": str(os.getpid()),
            "renewal": uuid.uuid4().hex,  # another content each time, and so another version
        }
        return self._bucket.write(_LOCK, json.dumps(content).encode(), instead_of=instead_of)

    def _live(self) -> None:
        """Show signs of life until the lock is given back or lost."""
        while not self._ended.wait(self._every) and not self._lost:
            try:
                self._renew()
            except BucketError as error:
                if not self._lost:
                    logger.warning("%s; the lock is renewed again in %.0f s", error, self._every)

    def _renew(self) -> None:
        """Show a sign of life.

        Raises:
            BucketError: the bucket cannot be written, or another run has the lock.
        """
        with self._renewing:
            asked_at = _now()  # the server may answer much later than it writes
            try:
                version: str | None = self._write(self._version)
            except ChangedError:
                version = self._own_version()
            if version is None:
                self._lost = (
                    f"{self._named}: another run has taken it over, since this one had shown no "
                    "sign of life; start the command again when that has ended"
                )
                logger.error("%s", self._lost)
                raise LockLostError(self._lost)
            self._version, self._renewed_at = version, asked_at

    def check(self) -> None:
        """Check that the folder still belongs to this run.

        Raises:
            LockLostError: another run has taken it, or it has been given back.
            BucketError: the lock is to be renewed, and the bucket does not answer.
        """
        if self._ended.is_set():
            raise LockLostError(f"{self._named}: this run has ended")
        if self.is_held and not self._lost and _now() - self._renewed_at > self._dead / 2:
            self._renew()  # this process was stopped, or the bucket was not there, for long
        if self._lost:
            raise LockLostError(self._lost)

    def release(self, warn: Callable[[str], None] = logger.warning) -> None:
        """Give the lock back, if it is held."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended.set()
        thread.join(5)  # a write under way finds the object gone, and changes nothing
        if self._lost:
            return
        try:
            if self._owner().get("id") == self._me:
                self._bucket.remove([_LOCK])
        except BucketError as error:
            warn(f"{error}; the lock stays, and is free in {self._dead:.0f} s")
