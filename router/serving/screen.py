"""What a person sees of `specroute serve`: lines, and on a terminal one line that moves."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status

from replicas.drafting import METHODS
from replicas.profiles import Profile
from replicas.progress import Stage
from router.admin_client import AdminClient, AdminError
from router.serving.config import ServeConfig
from router.settings import EMBEDDED_STORE
from router.store import redacted_url

READY = "specroute is ready"
"""Begins the line that says so; the demo waits for it."""

_LEVELS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


class Screen:
    """Prints to standard error, so that standard output stays free; colour only on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._told: dict[str, Stage] = {}
        self._logs: Path | None = None
        self._offsets: dict[Path, int] = {}
        self._began_s = time.time()

    def note(self, text: str) -> None:
        """One line of progress."""
        self._console.print(f"[dim]specroute:[/] {text}")

    def problems(self, lines: Sequence[str]) -> None:
        """What is wrong, a line each."""
        for line in lines:
            self._console.print(f"[bold red]specroute:[/] {_plain(line)}")

    def follow(self, logs: Path) -> None:
        """From now on print what the service's processes log into the folder."""
        self._logs = logs

    def starting(self, names: Sequence[str], stages: Mapping[str, Stage]) -> None:
        """Show where every engine is: a moving line on a terminal, else a line per new stage."""
        self.tick()
        if self._console.is_terminal:
            lines = ", ".join(_stage_words(name, stages.get(name)) for name in names)
            text = f"{time.time() - self._began_s:3.0f} s  {lines}"
            if self._status is None:
                self._status = self._console.status(text)
                self._status.start()
            else:
                self._status.update(text)
            return
        for name, stage in stages.items():
            if self._told.get(name) != stage:
                self._told[name] = stage
                self.note(f"{time.time() - self._began_s:3.0f} s  engine {name}: {_plain(stage.what)}")

    def ready(self, config: ServeConfig, stages: Mapping[str, Stage], seconds: float) -> None:
        """The service answers: where, with what, and what to try first."""
        self.close()
        host = "127.0.0.1" if config.host in {"0.0.0.0", "::"} else config.host
        url = f"http://{f'[{host}]' if ':' in host else host}:{config.port}"
        settings = config.settings
        out = self._console.print
        out(f"[bold green]{READY}[/] at [bold]{url}[/] after {seconds:.0f} s")
        for profile in settings.profiles:
            stage = stages.get(profile.name)
            state = (
                "ready"
                if stage is None or stage.state == "ready"
                else f"[red]failed:[/] {_plain(stage.what)}"
            )
            out(f"  engine {profile.name:10s} {state}: {_profile_words(profile)}")
        out(f"  policy {_plain(_policy_words(url))}")
        store = (
            "embedded Valkey" if settings.store.url == EMBEDDED_STORE else redacted_url(settings.store.url)
        )
        out(f"  statistics in {store}; see {url}/admin/v1/alpha")
        out(_examples(url, settings.model.name), markup=False)
        out("Ctrl-C stops it.")

    def tick(self) -> None:
        """Print what was logged since the last call."""
        if self._logs is None:
            return
        for file in sorted(self._logs.glob("*.log")):
            with file.open(encoding="utf-8", errors="replace") as lines:
                lines.seek(self._offsets.get(file, 0))
                text = lines.read()
                self._offsets[file] = lines.tell()
            for line in text.splitlines():
                self._console.print(line, style=_LEVELS.get(_level(line), "dim"), markup=False)

    def close(self) -> None:
        """Stop the moving line."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def _level(line: str) -> str:
    """The level of a line, in either form of `replicas.logs`."""
    found = re.search(r'"level": "([A-Z]+)"', line) if line.startswith("{") else None
    return found[1] if found else line[9:16].strip()


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _stage_words(name: str, stage: Stage | None) -> str:
    if stage is None:
        return f"{name}: waiting for its process"
    return f"{name}: {_plain(stage.what)}"


def _profile_words(profile: Profile) -> str:
    if not profile.speculative:
        return METHODS[profile.method].words
    return f"{METHODS[profile.method].words}, k up to {profile.k}"


def _policy_words(url: str) -> str:
    """The policy in force: not the file's where another was put before, by an operator or another run."""
    try:
        state = AdminClient(url).call("GET", "/admin/v1/policy").body
        label, origin, file = f"{state['name']}@{state['revision']}", state["origin"], state["file"]["path"]
    except (AdminError, KeyError, TypeError):
        return f"see {url}/admin/v1/policy"
    if origin == "preset":
        return f"{label} (built in; --policy FILE for your own)"
    if state["file"]["in_force"]:
        return f"{label} ({file})"
    return f"{label} (version {state['version']}, by {origin}; `specroute policy history` lists the others)"


def _examples(url: str, model: str) -> str:
    return f"""
Try it:
  curl -i {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{{
    "model": "{model}", "max_tokens": 48,
    "messages": [{{"role": "user", "content": "Count to ten."}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  print(client.chat.completions.create(model="{model}",
        messages=[{{"role": "user", "content": "Count to ten."}}]).choices[0].message.content)
"""
