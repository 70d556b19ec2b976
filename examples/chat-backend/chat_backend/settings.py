"""What an operator sets, as environment variables that start with `CHAT_`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """All settings; each `name` is read from `CHAT_NAME`."""

    model_config = SettingsConfigDict(env_prefix="CHAT_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Where to listen; 0.0.0.0 in a container.")
    port: int = Field(8080, ge=0, le=65535)
    model: str = Field(min_length=1, description="The model's name, as `GET /v1/models` of specroute tells.")
    specroute_url: str = Field(
        "http://specroute.specroute.svc/v1", pattern="^https?://", description="With the /v1."
    )
    specroute_key_file: Path | None = Field(
        None,
        description="The file with the tenant's key, read for every request, so that keys rotate without a "
        "restart. Leave it out where specroute has no keys file.",
    )
    system_prompt: str = Field("You are a helpful assistant. Answer briefly.", max_length=8000)
    task: str | None = Field(
        None, description="X-Specroute-Task, where all questions are of one kind; else specroute finds out."
    )
    max_answer_tokens: int = Field(512, ge=1, le=16_384)
    deadline_s: float = Field(120.0, gt=0, le=3600, description="For a whole answer, retries included.")
    attempts: int = Field(3, ge=1, le=10, description="Requests per answer at most, the first included.")
    show_details: bool = Field(True, description="Show under each answer how it was made: route, k, task.")

    database: Path = Field(Path("chat.sqlite3"), description="The file that holds the conversations.")
    keep_days: float = Field(7.0, gt=0, le=366, description="Conversations unused for longer are deleted.")
    max_conversations: int = Field(10_000, ge=1, description="Beyond, the longest unused are deleted.")
    max_turns: int = Field(200, ge=1, description="Per conversation.")
    max_question_chars: int = Field(4000, ge=1, le=100_000)
    max_history_chars: int = Field(
        12_000, ge=1, description="Of earlier turns sent along; older ones are shown, but not sent."
    )
    max_answers_at_once: int = Field(64, ge=1, description="Of all sessions; each has at most one.")
    secure_cookie: bool = Field(
        True, description="false only for trying it out over plain http on one's own machine."
    )
