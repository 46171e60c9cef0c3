"""meet(): a launcher goes to the address of `--meet`, and leads there or follows."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence

from jaxbert.errors import InputError
from jaxbert.runtime.follower import Follower
from jaxbert.runtime.leader import Leader
from jaxbert.runtime.meeting import Meeting, Terms


def meet(
    place: tuple[str, int],
    n: int,
    job: str,
    terms: Terms,
    signals: Sequence[str],
    say: Callable[[str], None],
) -> Meeting:
    """Lead, if this machine has the address and no launcher leads there; else follow.

    Args:
        place: host and port.
        n: processes of this host.
        signals: names of those that have come; it is read again and again.

    Raises:
        InputError: the host's name is not known.
    """
    host, port = place
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
        # On all interfaces: to the machine itself its name may mean 127.0.1.1.
        server = socket.create_server(("", port))
    except socket.gaierror as error:
        raise InputError(f"--meet {host}: {error.strerror}; give the first host's name") from None
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
            raise InputError(f"--meet {host}:{port}: {error.strerror}") from None
        return Follower(place, n, terms, signals, say)
    return Leader(server, host, n, job, terms, signals, say)
