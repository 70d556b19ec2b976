"""`specroute plan`: what fits on a GPU, and what drafting may gain there."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from router.cli_output import table_console
from router.cli_policy.files import bad_input

_NOT_AS_ASKED: Final = 1
_MOST_K: Final = 32


class PlanMethod(StrEnum):
    """vLLM's names of the ways to draft."""

    NGRAM = "ngram"
    SUFFIX = "suffix"
    DRAFT_MODEL = "draft_model"
    MEDUSA = "medusa"
    EAGLE = "eagle"
    EAGLE3 = "eagle3"
    MTP = "mtp"
    DFLASH = "dflash"
    DSPARK = "dspark"


def plan(  # noqa: PLR0917 - an option each
    target: Annotated[
        str | None,
        typer.Option(help="A model's folder or config.json, a published model's name, or `embedded`."),
    ] = None,
    drafter: Annotated[
        str | None,
        typer.Option(
            help="The drafter, likewise; `embedded` is the EAGLE-3 head that ships for the embedded model."
        ),
    ] = None,
    method: Annotated[
        PlanMethod | None, typer.Option(help="How it drafts [default: told by the drafter's config.json].")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="A GPU's name, or `cpu` [default: the smallest that does].")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, max=64, help="GPUs of one engine.")] = 1,
    draft_gpus: Annotated[
        int | None, typer.Option(min=1, max=64, help="GPUs of its drafter [default: as --gpus].")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=64, help="Tokens of a request with its answer [default: 2048; of a profile, its most]."
        ),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests at once [default: 8; of a profile, 1].")
    ] = None,
    k: Annotated[
        str | None, typer.Option(help="Draft lengths, by commas [default: of 1,2,3,4,5,8 those it can do].")
    ] = None,
    alpha: Annotated[
        str | None, typer.Option(help="Acceptances, by commas [default: 0.5,0.6,0.7,0.75,0.8,0.9].")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Data type of the target.")] = "auto",
    quantization: Annotated[
        str | None,
        typer.Option(
            help="Of the target: fp8, int8, int4, nf4, nvfp4, mxfp4, mxfp8, experts_int8 [default: its own]."
        ),
    ] = None,
    drafter_dtype: Annotated[str, typer.Option(help="Data type of the drafter.")] = "auto",
    drafter_quantization: Annotated[
        str | None, typer.Option(help="Of the drafter [default: its own].")
    ] = None,
    kv_fp8: Annotated[bool, typer.Option("--kv-fp8", help="A KV cache of one byte per number.")] = False,
    utilization: Annotated[
        float, typer.Option(min=0.05, max=1.0, help="Share of each GPU that the engine takes.")
    ] = 0.92,
    kv_cache_gib: Annotated[
        float, typer.Option(min=0.01, help="KV cache of an engine on the CPU, in GiB.")
    ] = 1.0,
    instances: Annotated[
        int, typer.Option(min=1, max=1024, help="Speculative engines, each with a drafter of its own.")
    ] = 1,
    draft_cost: Annotated[
        float | None, typer.Option(min=0.0, help="c, a draft's time in target passes [default: by bytes].")
    ] = None,
    heterogeneous: Annotated[
        bool, typer.Option("--heterogeneous", help="The tokenizers may differ (use_heterogeneous_vocab).")
    ] = False,
    parallel: Annotated[
        bool,
        typer.Option(
            "--parallel-drafting", help="The drafter proposes all tokens in one pass (P-EAGLE, PARD)."
        ),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Plan every profile of a deployment file, not a pair.")
    ] = None,
    shapes: Annotated[
        Path | None, typer.Option(help="With --config: a folder of folders with config.json of its models.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Plan an engine: what weights and KV cache take, what fits, and what drafting may gain.

    Checks the drafter's size and its tokenizer, too. Exit code: 0 it fits and can work, 1 it does not, 2 bad
    input.

    For example:

    - `specroute plan --target llama-3.3-70b --drafter llama-3.1-8b --gpu h100 --gpus 4 --concurrency 32`
    - `specroute plan --target /models/mine --method ngram --gpu l4 --context 8192`
    - `specroute plan --config k8s/profiles/qwen3-32b-eagle3.yaml --gpu h100`
    """
    from router.planning.engines import PlanError  # noqa: PLC0415 - keeps --help quick
    from router.planning.tables import show_deployment, show_pair  # noqa: PLC0415

    if (target is None) == (config is None):
        raise bad_input("name --target, or --config: one of them")
    if config is not None and (drafter or method):
        raise bad_input("--drafter and --method go with --target; a deployment's profiles name their own")
    try:
        if config is not None:
            made = _deployment(config, gpu=gpu, shapes=shapes, context=context, concurrency=concurrency)
        else:
            from router.planning.pair import (  # noqa: PLC0415
                DEFAULT_CONCURRENCY,
                DEFAULT_CONTEXT,
                PairOptions,
                plan_pair,
            )

            options = PairOptions(
                target=target or "",
                drafter=drafter,
                method=method.value if method else None,
                gpu=gpu,
                gpus=gpus,
                draft_gpus=draft_gpus,
                dtype=dtype,
                quantization=quantization,
                drafter_dtype=drafter_dtype,
                drafter_quantization=drafter_quantization,
                kv_fp8=kv_fp8,
                utilization=utilization,
                kv_cache_gib=kv_cache_gib,
                instances=instances,
                draft_cost=draft_cost,
                heterogeneous=heterogeneous,
                parallel=parallel,
                context=context or DEFAULT_CONTEXT,
                concurrency=concurrency or DEFAULT_CONCURRENCY,
                **_lists(k, alpha),
            )
            made = plan_pair(options)
    except PlanError as error:
        raise bad_input(str(error)) from None
    if as_json:
        typer.echo(json.dumps(made))
    elif config is not None:
        show_deployment(made["profiles"], table_console())
    else:
        show_pair(made, table_console())
    if not made["ok"]:
        raise typer.Exit(_NOT_AS_ASKED)


def _deployment(config: Path, **given: Any) -> dict[str, Any]:
    from router.planning.deployments import plan_deployment  # noqa: PLC0415 - keeps --help quick
    from router.serving.config import load_config  # noqa: PLC0415
    from router.settings import SettingsError  # noqa: PLC0415

    try:
        settings = load_config(config).settings
    except SettingsError as error:
        raise bad_input("\nspecroute: ".join(str(error).splitlines())) from None
    except OSError as error:
        raise bad_input(f"--config: {config}: {error.strerror or error}") from None
    profiles = plan_deployment(settings, **given)
    return {"config": str(config), "ok": all(one["ok"] for one in profiles), "profiles": profiles}


def _lists(k: str | None, alpha: str | None) -> dict[str, Any]:
    """The fields of PairOptions that are lists."""
    found: dict[str, Any] = {}
    if k is not None:
        try:
            found["lengths"] = tuple(sorted({int(word) for word in k.split(",")}))
        except ValueError:
            raise bad_input(f"--k: expected whole numbers by commas, not {k!r}") from None
        if not 1 <= found["lengths"][0] <= found["lengths"][-1] <= _MOST_K:
            raise bad_input(f"--k: expected numbers from 1 to {_MOST_K}")
    if alpha is not None:
        try:
            found["acceptances"] = tuple(sorted({float(word) for word in alpha.split(",")}))
        except ValueError:
            raise bad_input(f"--alpha: expected numbers by commas, not {alpha!r}") from None
        if not 0 <= found["acceptances"][0] <= found["acceptances"][-1] <= 1:
            raise bad_input("--alpha: expected numbers from 0 to 1")
    return found
