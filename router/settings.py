"""The deployment: what the platform team sets, read once at start. It is the Serve application's `args`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from policies.problems import choices_hint
from replicas.fake import FakeSettings
from replicas.profiles import ModelSpec, Profile
from router.capture_settings import CaptureSettings

ADMIN_TOKEN_VARIABLE = "SPECROUTE_ADMIN_TOKEN"  # noqa: S105 - the variable's name
METRICS_TOKEN_VARIABLE = "SPECROUTE_METRICS_TOKEN"  # noqa: S105 - the variable's name
STORE_USERNAME_VARIABLE = "SPECROUTE_STORE_USERNAME"
STORE_PASSWORD_VARIABLE = "SPECROUTE_STORE_PASSWORD"  # noqa: S105 - the variable's name
DATA_VARIABLE = "SPECROUTE_DATA_DIR"
"""Names the folder of the embedded store, instead of one in the user's data folder."""

EMBEDDED_STORE = "embedded"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StoreSettings(_Settings):
    """Where statistics are kept."""

    url: str = Field(
        EMBEDDED_STORE,
        description="redis://, rediss:// or unix:// URL of a Redis >= 6.2 or Valkey; `embedded` starts one. "
        "Who logs in may stand in the environment: SPECROUTE_STORE_USERNAME, SPECROUTE_STORE_PASSWORD.",
    )
    timeout_ms: int = Field(
        500, ge=1, description="Longest wait for one answer. No request waits for it: only learning is late."
    )
    flush_interval_s: float = Field(
        1.0,
        gt=0,
        description="How often what was learned is written, and what other routers learned is read.",
    )


class TenancySettings(_Settings):
    """How a request's tenant is known."""

    keys_file: str | None = Field(
        None,
        description="Tenants' API keys by their SHA-256, watched for changes; None: nobody needs a key.",
    )
    anonymous: bool = Field(
        False, description="With a keys file: answer requests without a key, as the tenant `anonymous`."
    )
    trusted_header: bool = Field(
        False, description="Believe X-Specroute-Tenant; only behind a gateway that sets it."
    )
    max_tenants: int = Field(1000, ge=1, description="Tenants with statistics of their own.")
    share_prefix_cache: bool = Field(
        False,
        description="Let tenants find each other's prompts in the prefix cache: faster where prompts begin "
        "alike, but by its time to first token each can tell what others have sent.",
    )


class PolicySettings(_Settings):
    """Where the policy is read from."""

    path: str | None = Field(
        None, description="A policy file, watched for changes; None is the default preset."
    )
    poll_interval_s: float = Field(1.0, gt=0, description="How often the file is looked at.")


class HttpSettings(_Settings):
    """Limits of the HTTP surface."""

    max_body_bytes: int = Field(8 * 2**20, ge=1024, description="A request's body.")
    max_json_depth: int = Field(64, ge=8, description="Objects and arrays in each other, in a body.")
    max_headers: int = Field(100, ge=20, description="How many headers a request may have.")
    max_header_bytes: int = Field(16 * 2**10, ge=2048, description="All headers, the path and the query.")
    max_answers: int = Field(128, ge=1, description="Answers a request may ask for: prompts times n.")
    open_admin: bool = Field(
        False, description="Answer the admin API without a token; for services that listen on loopback only."
    )


class DecisionLogSettings(_Settings):
    """Where decisions are logged, one JSON object a line."""

    path: str | None = Field(
        None,
        description="A file; every router writes its own beside it, as `<name>-<host>-<number><suffix>`. "
        "None logs nothing.",
    )
    sample: float = Field(1.0, gt=0, le=1, description="Share of the requests that are logged.")
    max_bytes: int = Field(64 * 2**20, ge=2**16, description="A file that would grow larger is rotated.")
    keep: int = Field(8, ge=1, description="Rotated files that are kept, per router.")


class AdmissionSettings(_Settings):
    """What happens to requests for which no engine has a slot."""

    queue_per_slot: float = Field(
        1.0,
        ge=0,
        le=16,
        description="Requests that may wait, per request the engines can decode at once; 0: none. "
        "1 makes one wait about as long as an answer takes, at most.",
    )


class FailoverSettings(_Settings):
    """When a replica that has not failed counts as failed."""

    silence_s: float = Field(
        10.0,
        ge=1,
        le=600,
        description="A request that gets nothing for so long, and for 20 plain steps, makes the router ask "
        "the replicas that may have it. One that leaves two questions unanswered hangs; so does one that "
        "says it has made no step for six times as long.",
    )


class DeploymentSettings(_Settings):
    """The whole deployment."""

    model: ModelSpec = ModelSpec()
    profiles: tuple[Profile, ...] = (
        Profile(name="vanilla"),
        Profile(name="ngram", method="ngram", k=8),
    )
    store: StoreSettings = StoreSettings()
    tenancy: TenancySettings = TenancySettings()
    policy: PolicySettings = PolicySettings()
    http: HttpSettings = HttpSettings()
    decision_log: DecisionLogSettings = DecisionLogSettings()
    capture: CaptureSettings = CaptureSettings()
    admission: AdmissionSettings = AdmissionSettings()
    failover: FailoverSettings = FailoverSettings()
    drain_s: float = Field(
        150.0,
        ge=0,
        le=86_400,
        description="How long a router or an engine that is replaced or taken away may go on with the "
        "requests it has. Longer than the policy's deadlines, so that a rolling update cuts none.",
    )
    classifier: str | None = Field(
        None,
        description="package.module:ClassName of your own task classifier, a router.tasks.TaskClassifier.",
    )
    routers: int = Field(1, ge=1, description="Replicas of the router itself.")
    calibration: str | None = Field(
        None,
        description="A calibration file, of `specroute calibrate`: step times, acceptance and routes to "
        "start from. What `GET /admin/v1/cost` prints is one too, with step times alone.",
    )
    fake_engines: FakeSettings | None = Field(
        None, description="Serve from seeded stand-ins instead of vLLM; for tests and benches of the router."
    )

    @model_validator(mode="after")
    def _pools(self) -> Self:
        names = [profile.name for profile in self.profiles]
        if not names:
            raise ValueError("profiles: name at least one")
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"profiles: the name {min(repeated)!r} is used twice")
        return self


class SettingsError(ValueError):
    """Settings that cannot be used; one line per problem, each naming its field."""


def parse_settings(values: Mapping[str, Any]) -> DeploymentSettings:
    """The deployment that `values` describe.

    Raises:
        SettingsError: With a line for every problem; unknown keys name the closest known one.
    """
    try:
        return DeploymentSettings.model_validate(values)
    except ValidationError as error:
        lines = [_line(problem) for problem in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def store_dir() -> Path:
    """Where the embedded store keeps its data between runs."""
    if given := os.environ.get(DATA_VARIABLE):
        return Path(given) / "valkey"
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "specroute" / "valkey"


def store_url(settings: StoreSettings) -> str:
    """The store's URL, with the user and the password of the environment where it names none itself."""
    scheme, separator, rest = settings.url.partition("://")
    user = os.environ.get(STORE_USERNAME_VARIABLE, "")
    password = os.environ.get(STORE_PASSWORD_VARIABLE, "")
    if not separator or not (user or password) or "@" in rest.partition("/")[0]:
        return settings.url
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def admin_token() -> str | None:
    """The admin API's token from the environment, None when unset or empty."""
    return os.environ.get(ADMIN_TOKEN_VARIABLE) or None


def metrics_token() -> str | None:
    """A token from the environment that opens `/metrics` and nothing else, None when unset or empty."""
    return os.environ.get(METRICS_TOKEN_VARIABLE) or None


def _line(problem: Mapping[str, Any]) -> str:
    path = ".".join(str(step) for step in problem["loc"]) or "deployment"
    if problem["type"] != "extra_forbidden":
        return f"{path}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{path}: unknown key; {choices_hint(str(problem['loc'][-1]), _known_keys(problem['loc'][:-1]))}"


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = DeploymentSettings
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            model = _model_of(model.model_fields[step].annotation) or model
    return list(model.model_fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_of(argument)) is not None:
            return found
    return None
