"""What a repository of the Hugging Face hub holds, asked for once and within three seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

SECONDS = 2.5  # for an answer; the hub's own client goes on trying for 25
T = TypeVar("T")


@dataclass(frozen=True)
class Repository:
    """A repository as the hub describes it.

    sizes: path -> bytes of every file.  license: as its page says, "" if it does not.  commit: of its main.
    """

    repo: str
    sizes: Mapping[str, int]
    license: str
    commit: str


_known: dict[str, Repository] = {}


def is_id(name: str) -> bool:
    """Whether this may be a repository's name, owner/name."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def look(repo: str) -> Repository:
    """What a repository holds, remembered. Fetches no file.

    Raises ValueError, one sentence within three seconds, where it is not there, gated, or out of reach.
    """
    if repo not in _known:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

        try:
            info = _within(lambda: HfApi().model_info(repo, files_metadata=True, timeout=SECONDS))
        except ConnectionError as error:
            raise ValueError(
                f"There is no folder {repo!r} here, and the Hugging Face hub cannot be asked about it "
                f"({error}): connect, or choose models on this machine."
            ) from error
        except GatedRepoError as error:
            raise ValueError(gated(repo)) from error
        except RepositoryNotFoundError as error:
            raise ValueError(
                f"There is no folder {repo!r} here, and no public model of this name on the Hugging Face hub."
            ) from error
        except HfHubHTTPError as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise ValueError(f"The Hugging Face hub does not tell what {repo!r} holds: {reason}.") from error
        card = info.card_data.to_dict() if info.card_data is not None else {}
        sizes = {one.rfilename: one.size or 0 for one in info.siblings or ()}
        license = card.get("license_name") or card.get("license") or ""
        _known[repo] = Repository(repo, sizes, str(license), info.sha or "")
    return _known[repo]


def require() -> None:
    """Raise ConnectionError within three seconds unless the hub answers."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.utils import get_session

    _within(lambda: get_session().head(ENDPOINT, timeout=SECONDS))


def answers() -> bool:
    """Whether the hub can be reached, known within three seconds."""
    try:
        require()
    except ConnectionError:
        return False
    return True


def gated(repo: str) -> str:
    """What to do about a repository whose terms have to be accepted first."""
    return f"{repo} is gated: accept its terms on huggingface.co and log in with hf auth login."


def _within(ask: Callable[[], T]) -> T:
    """The answer of a question to the hub, in a thread, for a name that is looked up knows no time limit.

    Raises ConnectionError where there is none, and what the hub says where it refuses.
    """
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError

    if is_offline_mode():
        raise ConnectionError("HF_HUB_OFFLINE is set")
    found: dict[str, Any] = {}

    def run() -> None:
        try:
            found["answer"] = ask()
        except Exception as error:  # told below, in the thread that asked
            found["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS + 0.3)
    if isinstance(error := found.get("error"), HfHubHTTPError):
        raise error  # it was reached, and says no
    if "answer" not in found:
        raise ConnectionError("it does not answer") from found.get("error")
    answer: T = found["answer"]
    return answer
