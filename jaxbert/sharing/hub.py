"""The Hub: whether a model may be uploaded, asked before it is trained, and the upload."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.sharing.card import CARD

logger = logging.getLogger("jaxbert")

# What is uploaded: no checkpoints, no log, and no record, which names files of this machine.
UPLOADED = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("metrics.json", CARD),
)
_LATER = "`jaxbert push` uploads the finished folder later"


@dataclasses.dataclass(frozen=True)
class Repository:
    """A model repository that the user may write to; it need not exist yet.

    Attributes:
        name: USER/NAME.
        private: where it is made, only its owner sees it.
    """

    name: str
    private: bool

    @classmethod
    def open(cls, given: str | None, otherwise: str, *, private: bool, flag: str) -> Self:
        """The repository of a name, asked of the Hub; nothing is made there.

        Args:
            given: USER/NAME, or NAME of the user's own.
            otherwise: the name where none is given.
            flag: that asks for it, for messages.

        Raises:
            InputError: the Hub cannot be reached, or the user may not write there.
        """
        from huggingface_hub import HfApi, constants, get_token
        from huggingface_hub.errors import RepositoryNotFoundError
        from huggingface_hub.utils import validate_repo_id

        if constants.HF_HUB_OFFLINE:
            raise InputError(
                f"{flag}: HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it, or leave "
                f"the flag out: {_LATER}"
            )
        if get_token() is None:
            raise InputError(
                f"{flag}: nobody is logged in to the Hub; run `hf auth login` or set HF_TOKEN"
            )
        asked = given or otherwise
        with _told(f"{flag} {shown(asked)}"):
            validate_repo_id(asked)
            api = HfApi()
            who = api.whoami()
            user = str(who["name"])
            name = asked if "/" in asked else f"{user}/{asked}"
            owner = name.partition("/")[0]
            role = (who.get("auth", {}).get("accessToken") or {}).get("role")
            if role == "read":
                raise InputError(
                    f"{flag}: the token of {user} may read only; make one that may write, at "
                    "https://huggingface.co/settings/tokens"
                )
            if owner not in (user, *(org["name"] for org in who.get("orgs", ()))):
                raise InputError(
                    f"{flag} {shown(name)}: {user} is not {shown(owner)}, and not in an "
                    f"organization of that name; give {user}/{name.partition('/')[2]}"
                )
            with contextlib.suppress(RepositoryNotFoundError):  # it is made by the upload
                api.auth_check(name, write=True)
        return cls(name, private)

    def push(self, folder: Path) -> str:
        """Upload the model of a folder; returns the address of the commit.

        Raises:
            InputError: the Hub did not take it.
        """
        from huggingface_hub import HfApi

        with _told(f"{self.name}: the Hub did not take {folder}"):
            api = HfApi()
            api.create_repo(self.name, private=self.private or None, exist_ok=True)
            commit = api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                allow_patterns=list(UPLOADED),
                commit_message="Model trained with jaxbert",
            )
        return commit.commit_url


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """What the Hub's client raises, as one line.

    Raises:
        InputError: whatever it was.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except InputError:
        raise
    except HFValidationError as error:
        raise InputError(f"{what}: not a name of the Hub ({_first_line(error)})") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            advice = "the token is wrong or has expired; run `hf auth login` or set HF_TOKEN"
        elif status == 403:
            advice = "the token may not write there; give another name, or ask its owner"
        else:
            advice = f"{error.server_message or _first_line(error)}; try again"
        raise InputError(f"{what}: HTTP {status}, {shown(advice)}") from None
    except Exception as error:  # the Hub's client raises errors from many libraries
        raise InputError(
            f"{what}: the Hub cannot be reached ({_first_line(error)}); {_LATER}"
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return shown(lines[0]) if lines else type(error).__name__
