"""Objects in a bucket, gs://BUCKET/PREFIX or s3://BUCKET/PREFIX, by the package obstore.

Addresses of servers and keys come from the usual variables and files: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, ~/.aws/credentials (where boto3 is installed), GOOGLE_APPLICATION_CREDENTIALS,
STORAGE_EMULATOR_HOST, and what a cloud's machine tells of itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ClientConfig, GCSConfig, GCSStore, RetryConfig, S3Store

T = TypeVar("T")

# Scheme -> the extra that has what it needs.
SCHEMES = {"gs": "gcs", "s3": "s3"}
_ADDRESS = re.compile(r"(gs|s3)://([a-z0-9][a-z0-9._-]+[a-z0-9])((?:/[^/]+)*)/?")
_CHUNK = 8 << 20  # bytes of a download that are in memory at once
_TRIES = 5  # of an answer that is cut; all else obstore tries again
_CUT = re.compile("body error|decoding response body|response body")
# "Server returned non-2xx status code: 403 Forbidden: <?xml ...><Code>AccessDenied</Code>"
_STATUS = re.compile(r"status code: (\d{3})[ \w]*")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CAUSE = re.compile(
    "Connection refused|Connection reset|dns error|operation timed out|certificate|"
    "connection closed before message completed|error sending request|response body"
)


class BucketError(InputError):
    """A bucket does not do what is asked, in one line."""


class ChangedError(BucketError):
    """An object is not the one that it should be: somebody else has written it."""


class CutError(BucketError):
    """An answer was cut."""


class Stat(NamedTuple):
    """Of an object.

    Attributes:
        version: which content it is: a write can ask that it be this one.
        modified: when it was written, by the server's clock.
        size: in bytes.
    """

    version: str
    modified: datetime
    size: int


def is_address(place: str | Path) -> bool:
    """Whether it names a place in a bucket: gs://... or s3://..."""
    return str(place).startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parts_of(address: str, flag: str = "") -> tuple[str, str, str]:
    """The scheme, the bucket and the prefix of an address.

    Args:
        flag: that gave it, for the message.

    Raises:
        BucketError: it is none.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        said = f"{flag} {shown(address)}".strip()
        raise BucketError(
            f"{said}: no address of a bucket; give gs://BUCKET/PREFIX or s3://BUCKET/PREFIX"
        )
    return found[1], found[2], found[3].strip("/")


def joined(place: str, name: str) -> str:
    """The address of a thing in a place."""
    return f"{place.rstrip('/')}/{name}"


class Bucket:
    """The objects under an address.

    Args:
        address: gs://BUCKET/PREFIX or s3://BUCKET/PREFIX.
        flag: that gave it, for messages.
        seconds: how long a request that fails for a time, as with 503 or a cut connection, is tried
            again, with growing pauses.

    Raises:
        BucketError: it is no such address, or the package that reaches it is not installed.
    """

    def __init__(self, address: str, flag: str = "", *, seconds: float = 120) -> None:
        self.address = address.rstrip("/")
        self._said = f"{flag} {shown(self.address)}".strip()
        scheme, self._name, prefix = parts_of(address, flag)
        if importlib.util.find_spec("obstore") is None:
            raise BucketError(
                f"{self._said}: the package obstore is not installed; "
                f"pip install 'jaxbert[{SCHEMES[scheme]}]'"
            )
        with self._errors():
            self._store = _open(scheme, self._name, prefix, seconds)

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none."""
        import obstore

        def read() -> bytes | None:
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError as error:
                self._check_bucket(error)
                return None

        return self._again(read)

    def stat(self, name: str) -> Stat | None:
        """What the server says of an object; None where there is none."""
        import obstore

        with self._errors():
            try:
                found = obstore.head(self._store, name)
            except FileNotFoundError as error:
                self._check_bucket(error)
                return None
        return Stat(
            _version(found["e_tag"], found["version"]), found["last_modified"], found["size"]
        )

    def write(self, name: str, content: bytes, *, instead_of: str | None = None) -> str:
        """Write an object whole, and return its version.

        Args:
            instead_of: the version that must be there, "" for none; by default any may.

        Raises:
            ChangedError: another one is there; it may be this content, whose first write was done
                and not answered.
        """
        # obstore does not try a write again that has a condition and gets no answer.
        for number in range(1, _TRIES if instead_of is not None else 1):
            try:
                return self._write(name, content, instead_of)
            except ChangedError:
                raise
            except BucketError:
                time.sleep(0.2 * number)
        return self._write(name, content, instead_of)

    def _write(self, name: str, content: bytes, instead_of: str | None) -> str:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._errors():
            try:
                if instead_of is None:
                    done = obstore.put(self._store, name, content)
                elif not instead_of:
                    done = obstore.put(self._store, name, content, mode="create")
                else:
                    e_tag, _, version = instead_of.partition("\n")
                    mode: UpdateVersion = {"e_tag": e_tag}
                    if version:
                        mode["version"] = version
                    done = obstore.put(self._store, name, content, mode=mode)
            except (AlreadyExistsError, PreconditionError):
                raise ChangedError(f"{self.address}/{name}: somebody else has written it") from None
        return _version(done["e_tag"], done["version"])

    def upload(self, path: Path, name: str) -> None:
        """Write a file's content as an object, a large one in parts; it is there whole or not."""
        import obstore

        with self._errors():
            obstore.put(self._store, name, path)

    def download(self, name: str, path: Path) -> None:
        """Write an object's content to a file, whose folder is made; tried again where it is cut.

        Raises:
            FileNotFoundError: there is no such object.
        """
        import obstore

        def download() -> None:
            with partial.open("wb") as file:
                got = obstore.get(self._store, name)
                for chunk in got.stream(min_chunk_size=_CHUNK):
                    file.write(chunk)
                if file.tell() != got.meta["size"]:
                    raise CutError(f"{self.address}/{name}: it did not come whole")

        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            self._again(download)
        except (BucketError, FileNotFoundError):
            partial.unlink(missing_ok=True)
            raise
        partial.replace(path)

    def names(self, prefix: str = "") -> dict[str, Stat]:
        """The objects whose names begin with the parts of `prefix`, a/b."""
        import obstore

        def names() -> dict[str, Stat]:
            found: dict[str, Stat] = {}
            for chunk in obstore.list(self._store, prefix or None):
                for one in chunk:
                    version = _version(one["e_tag"], one["version"])
                    found[one["path"]] = Stat(version, one["last_modified"], one["size"])
            return found

        return self._again(names)

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, those that are there."""
        import obstore

        with self._errors():
            for name in names:  # one by one: not every server takes several
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._store, name)

    def _again(self, ask: Callable[[], T]) -> T:
        """What a request that changes nothing gives, asked again where its answer is cut."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(CutError), self._errors():
                return ask()
        with self._errors():
            return ask()

    def _check_bucket(self, error: FileNotFoundError) -> None:
        """Raise the error where it is the bucket that is missing."""
        if "NoSuchBucket" in str(error):
            raise error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what obstore raises into one line."""
        import obstore.exceptions

        try:
            yield
        except BucketError:
            raise
        except (FileNotFoundError, obstore.exceptions.BaseError, ValueError) as error:
            if "NoSuchBucket" in str(error):
                raise BucketError(
                    f"{self._said}: there is no bucket {self._name}; make it, or check its name "
                    "and, of s3, AWS_ENDPOINT_URL and AWS_REGION"
                ) from None
            if isinstance(error, FileNotFoundError):
                raise
            kind = CutError if _CUT.search(str(error)) else BucketError
            raise kind(f"{self._said}: {_reason(str(error))}") from None


def _version(e_tag: str | None, version: str | None) -> str:
    # Google's condition is on the version, its generation; Amazon's on the tag.
    return f"{e_tag or ''}\n{version or ''}"


def _reason(text: str) -> str:
    """The part of obstore's text that says why, and what to do."""
    status, code = _STATUS.search(text), _CODE.search(text)
    said = ", ".join(part for part in (status and status[1], code and code[1]) if part)
    if any(host in text for host in ("169.254.", "metadata.google.internal", "token request")):
        return (
            "no keys were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or of gs "
            "GOOGLE_APPLICATION_CREDENTIALS (gcloud auth application-default login makes some)"
        )
    if code and code[1] in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
        return f"the keys have expired ({said}); get new ones, and start the same command again"
    if (status and status[1] in ("401", "403")) or "Unauthenticated" in text:
        return (
            f"no permission ({said}); check that the keys or the account that are in use may read "
            "and write there, and that they have not expired"
        )
    if status and status[1] in ("301", "400") and code:
        return f"the server refuses it ({said}); is it the region of the bucket? see AWS_REGION"
    if status:
        return f"the server fails ({said}); start the same command again later"
    line = text.strip().splitlines()[0] if text.strip() else "no reason was given"
    cause = _CAUSE.search(text)
    why = cause[0] if cause else shown(line)
    return f"no answer from the server ({why}); check the network and the server's address"


def _open(scheme: str, bucket: str, prefix: str, seconds: float) -> GCSStore | S3Store:
    """The store of a bucket.

    Args:
        seconds: see Bucket.
    """
    from obstore.store import GCSStore, S3Store

    retries: RetryConfig = {
        "max_retries": max(6, int(seconds / 5)),
        "retry_timeout": timedelta(seconds=seconds),
        "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10)},
    }
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": timedelta(seconds=30),  # without a byte
        "timeout": timedelta(hours=1),  # of a whole request, a large object on a slow line
    }
    if scheme == "gs":
        host = os.environ.get("STORAGE_EMULATOR_HOST")
        emulator: GCSConfig = {}
        if host:  # it asks for no key
            url = host if "://" in host else f"http://{host}"
            account = {"gcs_base_url": url.rstrip("/"), "disable_oauth": True}
            account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
            emulator = {"service_account_key": json.dumps(account)}
            client["allow_http"] = url.startswith("http://")
        return GCSStore(
            bucket,
            prefix=prefix or None,
            config=emulator,
            client_options=client,
            retry_config=retries,
        )
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        client["allow_http"] = endpoint.startswith("http://")
    has_keys = "AWS_ACCESS_KEY_ID" in os.environ or "AWS_SKIP_SIGNATURE" in os.environ
    provider = None
    if not has_keys and importlib.util.find_spec("boto3"):  # the profiles of ~/.aws
        from obstore.auth.boto3 import Boto3CredentialProvider

        try:
            provider = Boto3CredentialProvider()
        except ValueError:  # there is none; a machine of Amazon has its own
            pass
        except Exception as error:  # botocore's have no type in common
            raise BucketError(f"s3://{bucket}: the keys cannot be read ({shown(error)})") from None
    return S3Store(
        bucket,
        prefix=prefix or None,
        config={"endpoint": endpoint} if endpoint else {},
        client_options=client,
        retry_config=retries,
        credential_provider=provider,
    )
