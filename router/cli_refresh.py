"""`specroute draft refresh`: a stale drafter learns on from captured answers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from replicas.drafting import PACKAGED
from router.cli_policy.files import bad_input

if TYPE_CHECKING:
    from drafters.refreshing import RefreshSettings, Verdict

_NEGATIVE: Final = 1
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Given:
    """What the command was told, as far as every step needs it."""

    drafter: Path
    url: str | None
    profile: str | None
    as_json: bool


def refresh(  # noqa: PLR0917 - an option each
    drafter: Annotated[Path, typer.Option(help="What the profile's draft_model names.")],
    captured: Annotated[
        Path | None, typer.Option(help="The deployment's capture.folder, or one of its files.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run [default: beside the drafter].")] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="The target's Hugging Face folder [default: the embedded model, prepared if need be]."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="A running service: its pool changes to the new drafter, engine by engine."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="With --url: the pool [default: the only one with a drafter's folder].")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Answer tokens to take, the newest first.", min=1)] = 100_000,
    prompt_tokens: Annotated[int, typer.Option(help="Longer questions are left out.", min=8)] = 768,
    epochs: Annotated[int, typer.Option(help="Most times that every answer is learned from.", min=1)] = 4,
    rate: Annotated[float, typer.Option(help="Greatest learning rate.", min=1e-7, max=1.0)] = 5e-4,
    k: Annotated[
        int, typer.Option(help="Draft tokens a step at which both are compared.", min=1, max=16)
    ] = 4,
    margin: Annotated[
        float, typer.Option(help="Tokens a step that the new one must be better by.", min=0.0)
    ] = 0.0,
    confidence: Annotated[
        float, typer.Option(help="Of the interval whose lower end decides.", min=0.5, max=0.999)
    ] = 0.95,
    threads: Annotated[int | None, typer.Option(help="CPU threads [default: all cores].", min=1)] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the drafter before this one, and do nothing else.")
    ] = False,
    roll: Annotated[
        bool,
        typer.Option("--roll", help="With --url: only change the pool to the drafter that is there now."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="With --url: wait until the service says that the drafter rots.")
    ] = False,
    least_hours: Annotated[
        float, typer.Option(help="With --watch: hours between two refreshes, at least.", min=0.0)
    ] = 6.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Train a drafter on from captured answers, and promote it only if it is better for sure.

    Old and new draft over captured answers that neither learned from. The new one is promoted where the
    interval of its gain in tokens per step lies above --margin; else nothing changes and the exit code is 1.
    The version before is kept for --rollback. Interrupted, the same command goes on where it stopped. Needs
    `capture` in the deployment file. Set SPECROUTE_ADMIN_TOKEN where the service has an admin token.

    For example:

    - `specroute draft refresh --drafter runs/drafter/drafter --captured captured`
    - `specroute draft refresh --drafter runs/drafter/drafter --captured captured --url http://127.0.0.1:8000`
    - `specroute draft refresh --drafter runs/drafter/drafter --rollback --url http://127.0.0.1:8000`
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait spinning take others' time
    given = _Given(Path(os.path.abspath(drafter)), url, profile, as_json)  # noqa: PTH100 - it may be a link
    if (roll or watch) and url is None:
        raise bad_input(f"--{'roll' if roll else 'watch'}: needs the --url of a running service")
    if not given.drafter.is_symlink() and given.drafter.resolve() == PACKAGED.resolve():
        from drafters.versions import COPY_IT  # noqa: PLC0415 - keeps --help quick

        raise bad_input(f"--drafter: {COPY_IT}")
    if rollback or roll:
        raise typer.Exit(_guarded(lambda: _changed(given, back=rollback)))
    if captured is None:
        raise bad_input("--captured: name the folder that capture.folder in the deployment file names")

    from drafters.refreshing import LEARN, RefreshSettings  # noqa: PLC0415 - torch is imported late

    usual = RefreshSettings()
    settings = RefreshSettings(
        read=replace(usual.read, tokens=tokens, prompt_tokens=prompt_tokens),
        learn=replace(LEARN, epochs=epochs, rate=rate),
        k=k,
        margin=margin,
        confidence=confidence,
        threads=threads,
    )
    folder = out if out is not None else given.drafter.with_name(f"{given.drafter.name}.refresh")

    def once() -> int:
        from router.cli_draft import embedded_model  # noqa: PLC0415 - which has this command

        source = embedded_model() if model is None else model
        return _refreshed(given, folder, source, captured, settings)

    if watch:
        raise typer.Exit(_guarded(lambda: _watched(given, once, least_s=least_hours * _HOUR_S)))
    raise typer.Exit(_guarded(once))


def _guarded(step: Callable[[], int]) -> int:
    from drafters.errors import DraftError  # noqa: PLC0415
    from router.admin_client import AdminError, AdminTokenError, AdminUrlError  # noqa: PLC0415
    from router.rolling import RollError  # noqa: PLC0415

    try:
        return step()
    except (DraftError, AdminUrlError, AdminTokenError) as error:
        raise bad_input(str(error)) from None
    except (AdminError, RollError) as error:
        _say(f"specroute: {error}")
    except KeyboardInterrupt:
        _say("specroute: stopped; the same command goes on where it stopped")
    return _NEGATIVE


def _refreshed(given: _Given, folder: Path, model: Path, captured: Path, settings: RefreshSettings) -> int:
    from drafters.refreshing import refresh as run  # noqa: PLC0415

    pool = _pool(given)  # before an hour of work, not after it
    verdict = run(folder, given.drafter, model=model, captured=captured, settings=settings, say=_say)
    told: dict[str, Any] = dict(verdict.report)
    if verdict.version is not None and pool is not None:
        told["renewed"] = _rolled(given, pool["profile"], verdict.version.name)
    _tell(given, told, _words(verdict, settings))
    if verdict.version is not None and pool is None:
        _say("specroute: engines load it when they start: give --url --roll, or start the service anew")
    return 0 if verdict.version is not None else _NEGATIVE


def _changed(given: _Given, *, back: bool) -> int:
    """Rolls back, and rolls the pool where there is one."""
    from drafters.versions import roll_back, settled  # noqa: PLC0415

    pool = _pool(given)
    version = roll_back(given.drafter) if back else settled(given.drafter)
    told: dict[str, Any] = {"drafter": str(given.drafter), "version": version.name}
    if pool is not None:
        told["renewed"] = _rolled(given, pool["profile"], version.name)
    _tell(given, told, f"{given.drafter}: {version.name}")
    return 0


def _watched(given: _Given, once: Callable[[], int], *, least_s: float) -> int:
    """Refreshes whenever the drafter rots, until Ctrl-C, also after a refresh that failed."""
    from drafters.errors import DraftError  # noqa: PLC0415
    from router.admin_client import AdminClient, AdminError  # noqa: PLC0415
    from router.drift_watch import DriftWatch  # noqa: PLC0415
    from router.rolling import RollError  # noqa: PLC0415

    pool = _pool(given)
    assert given.url is not None and pool is not None  # noqa: S101, PT018 - checked by the command
    watching = DriftWatch(AdminClient(given.url), pool["profile"], least_s=least_s, say=_say)
    _say(f"watch: {given.url}, pool {pool['profile']}")
    while True:
        watching.wait()
        try:
            once()
        except (DraftError, AdminError, RollError) as error:
            _say(f"specroute: {error}")
        watching.refreshed()


def _pool(given: _Given) -> Mapping[str, Any] | None:
    if given.url is None:
        return None
    from router.admin_client import AdminClient  # noqa: PLC0415
    from router.rolling import drafted_pool  # noqa: PLC0415

    return drafted_pool(AdminClient(given.url), given.profile)


def _rolled(given: _Given, profile: str, version: str) -> int:
    from router.admin_client import AdminClient  # noqa: PLC0415
    from router.rolling import roll  # noqa: PLC0415

    return roll(AdminClient(given.url or ""), profile, version, say=_say)


def _words(verdict: Verdict, settings: RefreshSettings) -> str:
    length, found = verdict.comparison.length, verdict.comparison
    figures = (
        f"{length.old:.3f} -> {length.new:.3f} tokens per step, {length.low:+.3f} to {length.high:+.3f} with "
        f"{found.confidence:.0%} confidence, k = {settings.k}, {found.answers} answers of {found.families} "
        "conversations"
    )
    alphas = ", ".join(
        f"{'-' if one.old is None else f'{one.old:.2f}'} -> {'-' if one.new is None else f'{one.new:.2f}'}"
        for one in found.alpha_by_position
    )
    if verdict.version is not None:
        return f"promoted: {verdict.version.name}: {figures}; by position {alphas}"
    more = f"more than {settings.margin:g} tokens a step" if settings.margin else "better"
    return f"refused: not surely {more}: {figures}; by position {alphas}; the drafter is as it was"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _tell(given: _Given, document: Mapping[str, Any], line: str) -> None:
    typer.echo(json.dumps(document) if given.as_json else line)
