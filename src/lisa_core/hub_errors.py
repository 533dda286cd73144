"""What goes wrong between here and the hub, as one line that says what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, errors

from lisa_core.discovery import one_line
from lisa_core.errors import CheckpointError, LisaError

_LONGEST = 200
# The base of what the HTTP library raises, whichever one huggingface_hub is built on.
_TransportError: type[Exception] = errors.HfHubHTTPError.__mro__[1]


def unreachable(error: BaseException) -> bool:
    """Whether the hub could not be asked at all, rather than having refused."""
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, (errors.OfflineModeIsEnabled, _TransportError, ConnectionError, TimeoutError))


@contextmanager
def hub_errors(repo_id: str, revision: str | None = None, pushing: bool = False) -> Iterator[None]:
    """Raise CheckpointError for what huggingface_hub raises about a repository."""
    try:
        yield
    except LisaError:
        raise
    except Exception as error:
        # A thread that uploads a file reports any failure of its own as a RuntimeError.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ is not None else error
        reason = _reason(cause, repo_id, revision, pushing)
        if reason is None:
            raise
        raise CheckpointError(reason) from error


def _reason(error: BaseException, repo_id: str, revision: str | None, pushing: bool) -> str | None:
    """The line; None for what is a bug."""
    where = constants.ENDPOINT
    if isinstance(error, errors.HFValidationError):
        return f"{repo_id} is no name on the hub: give ORG/NAME"
    if isinstance(error, errors.GatedRepoError):
        return f"{repo_id} is gated: accept its conditions at {where}/{repo_id} and run `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo_id} on the hub has no revision {revision}: check the spelling, or leave --revision out"
    if isinstance(error, errors.RepositoryNotFoundError):
        if pushing:
            return f"the hub has no model {repo_id} that your token may write to: check the spelling, or add --create"
        return f"the hub has no model {repo_id}, or it is private (`hf auth login`): check the spelling"
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code < 500:
        return _refusal(error, repo_id)
    if constants.HF_HUB_OFFLINE and (unreachable(error) or isinstance(error, errors.LocalEntryNotFoundError)):
        return f"{repo_id} is not in the hub's cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set: unset it"
    if unreachable(error) or isinstance(error, errors.LocalEntryNotFoundError):
        return f"the hub cannot be reached at {where} for {repo_id} ({_short(error)}): check the network, and try again"
    if isinstance(error, OSError):
        return f"files of {repo_id} cannot be read or written ({_short(error)}): free space, or look at the folder"
    if isinstance(error, ValueError):
        return f"the hub and this machine do not understand each other about {repo_id} ({_short(error)})"
    return None


def _refusal(error: errors.HfHubHTTPError, repo_id: str) -> str:
    """A line for an answer that means no."""
    status = error.response.status_code
    if status == 401:
        return "the hub does not know your token: run `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return f"your token may not do this to {repo_id}: give one with write access (`hf auth login`), or another name"
    if status == 429:
        return "the hub asks for patience (too many requests): try again in a few minutes"
    return f"the hub refused {repo_id} ({_short(error)})"


def _short(error: BaseException) -> str:
    """Its first sentences: huggingface_hub goes on with advice, of which ours is the shorter."""
    # What keeps a file from being found says less than what kept the hub from being asked.
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None
    text = one_line(cause or error)
    if len(text) <= _LONGEST:
        return text
    end = text.rfind(". ", 0, _LONGEST)
    return text[:end] if end > 0 else textwrap.shorten(text, _LONGEST, placeholder=" ...")
