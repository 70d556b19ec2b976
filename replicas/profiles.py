"""Profiles: validated engine settings, and the vLLM arguments they become."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from policies.cost import StepShape, StepTime, seed
from replicas.autoscaling import Autoscaling
from replicas.drafting import METHODS, DrafterFolder, Method, check_options, drafts_all_k

EMBEDDED = "embedded"
"""Names the model that ships with the product, in the place of a path."""

_MEMORY_SHARE = 0.92
"""Of a GPU's memory that engines take together; vLLM's own default for one."""

ASSUMED_PLAIN_STEP_S = 0.02
"""A plain decode step of the embedded model on one core, about. The first measured steps replace it."""


class ModelSpec(BaseModel):
    """The target: one model, served by every pool under one public name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("smollm2-135m-instruct", min_length=1, description="The name clients ask for.")
    path: str = Field(
        EMBEDDED, min_length=1, description="A Hugging Face folder, or `embedded` for the packaged model."
    )
    max_model_len: int = Field(8192, ge=64, description="Most tokens of prompt and answer together.")
    server_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Further arguments of vLLM's OpenAI server, passed as they stand: how this model calls "
        "tools (`tool_call_parser`, `enable_auto_tool_choice`), its `chat_template` …",
    )


class PromptLookup(BaseModel):
    """How much of the answer's end the n-gram drafter looks up in the text before it, in tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: int = Field(2, ge=1, description="Fewest tokens that must be found again.")
    max: int = Field(5, ge=1, description="Most tokens that are looked for.")

    @model_validator(mode="after")
    def _ordered(self) -> PromptLookup:
        if self.min > self.max:
            msg = f"min ({self.min}) must not be above max ({self.max})"
            raise ValueError(msg)
        return self


class StepCost(BaseModel):
    """The shape of a pool's step time, in units of one plain decode step of the same model.

    A step that verifies d >= 1 draft tokens costs 1 + verify + per_token * d; a drafter that is a model adds
    per_draft_token for every token it is asked for, used or not. The defaults are the embedded model's on one
    core: verifying 2 to 16 tokens costs about 1.7 times one token, flat.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verify: float = Field(0.7, ge=0, description="What verifying any draft adds.")
    per_token: float = Field(0.01, ge=0, description="What verifying each draft token adds.")
    per_draft_token: float = Field(
        0.0,
        ge=0,
        description="What each draft token that is asked for takes to make; for drafters that are models.",
    )
    per_request: float = Field(0.02, ge=0, lt=1, description="What each further request of the batch adds.")
    per_prefill_token: float = Field(
        0.04, ge=0, description="What each token of a prompt read beside it adds."
    )

    def plain_steps(self, *, drafted: int, asked: int) -> float:
        """What a step costs that verifies `drafted` tokens of a drafter that was asked for `asked`."""
        verification = self.verify + self.per_token * drafted if drafted else 0.0
        return 1.0 + verification + self.per_draft_token * asked

    def seed(self, plain_step_s: float = ASSUMED_PLAIN_STEP_S) -> StepTime:
        """The step time before any was measured."""
        return seed(StepShape(**self.model_dump()), plain_step_s)


class Profile(BaseModel):
    """A named engine configuration. The replicas that run it are a pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
        description="What the pool is called in headers, metrics and evidence; up to 32 of a-z 0-9 `_` `-`.",
    )
    method: Method = Field("none", description="Who drafts; `none` is plain decoding.")
    k: int = Field(0, ge=0, le=32, description="The largest number of draft tokens a request may ask for.")
    draft_model: DrafterFolder | None = Field(
        None,
        description="The drafter's folder, for methods with weights of their own; `embedded` for the EAGLE-3 "
        "head that ships for the embedded model. See replicas/drafting.py.",
    )
    draft_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Further keys of vLLM's speculative config, passed as they stand: "
        "`use_heterogeneous_vocab`, `parallel_drafting`, `num_speculative_tokens_per_batch_size` …",
    )
    prompt_lookup: PromptLookup = PromptLookup()
    step_cost: StepCost = StepCost()
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where its engines run; `auto` is a GPU where there are some."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Of the weights; `auto` is the model's own on GPUs, float32 on CPUs."
    )
    replicas: int = Field(1, ge=1, description="Engines. Left out where there is `autoscaling`.")
    autoscaling: Autoscaling | None = Field(
        None, description="Let the number of engines follow what is asked of them; by default it stays."
    )
    gpus: int | float = Field(
        1,
        gt=0,
        le=1024,
        description="GPUs of one replica, all on one node (its tensor parallel size). A fraction lets "
        "engines share a GPU: 0.5 is half of one. On CPU ignored.",
    )
    cpu_cores: tuple[int, ...] | None = Field(
        None, description="Cores of one replica on a CPU machine; by default the machine's are shared out."
    )
    kv_cache_gib: int = Field(1, ge=1, description="Memory for the KV cache on a CPU machine, in GiB.")
    max_num_seqs: int = Field(16, ge=1, description="Most requests decoded at once by one replica.")
    engine_args: dict[str, Any] = Field(
        default_factory=dict, description="Further vLLM engine arguments, passed as they stand."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        if self.method == "none" and self.k:
            raise ValueError(f"k is {self.k} but method is none: set method, or k to 0")
        if self.method != "none" and not self.k:
            raise ValueError(f"method {self.method} drafts nothing with k 0: set k to 1 or more")
        folder = METHODS[self.method].folder
        if folder is not None and self.draft_model is None:
            raise ValueError(f"method {self.method} needs draft_model: the folder of {folder}")
        if folder is None and self.draft_model is not None:
            raise ValueError(
                f"draft_model names a drafter's folder; method {self.method} has none: leave it out"
            )
        if self.draft_options and self.method == "none":
            raise ValueError("draft_options are for a drafter, but method is none")
        if taken := sorted(_DRAFT_RESERVED & self.draft_options.keys()):
            raise ValueError(f"draft_options must not set {', '.join(taken)}: specroute sets it itself")
        check_options(self.method, self.draft_options)
        if self.device == "cpu" and METHODS[self.method].gpus_only:
            raise ValueError(f"method {self.method} needs a GPU: set device to cuda, or choose another")
        reserved = sorted(_RESERVED & self.engine_args.keys())
        if reserved:
            raise ValueError(f"engine_args must not set {', '.join(reserved)}: specroute sets it itself")
        return self

    @model_validator(mode="after")
    def _placeable(self) -> Profile:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus:g}: only a part of one GPU can be shared, so set 1 or less")
        if more := sorted(_MORE_DEVICES & self.engine_args.keys()):
            raise ValueError(f"engine_args must not set {', '.join(more)}: an engine has `gpus` devices")
        if self.autoscaling is not None:
            given = self.replicas if "replicas" in self.model_fields_set else None
            self.autoscaling.check(method=self.method, replicas=given)
        return self

    @property
    def fewest_replicas(self) -> int:
        """Engines it begins with."""
        return self.replicas if self.autoscaling is None else self.autoscaling.min_replicas

    @property
    def most_replicas(self) -> int:
        """Engines it may have."""
        return self.replicas if self.autoscaling is None else self.autoscaling.max_replicas

    @property
    def tensor_parallel_size(self) -> int:
        """GPUs that one pass runs on."""
        return max(1, int(self.gpus))

    @property
    def speculative(self) -> bool:
        """Whether this pool has a drafter."""
        return self.method != "none"

    @property
    def drafter_is_model(self) -> bool:
        """Whether drafting takes time by the tokens asked for; copying from the text takes next to none."""
        return self.speculative and not METHODS[self.method].copies

    @property
    def least_asked(self) -> int:
        """Tokens its drafting model works for in every pass at least; 0 where none drafts.

        All k where they come from one pass whatever is asked for, else one: it keeps its cache.
        """
        if not self.drafter_is_model:
            return 0
        return self.k if self.drafts_all_k else 1

    @property
    def drafts_all_k(self) -> bool:
        """Whether its drafter proposes all k tokens whatever it is asked for; see `drafting.drafts_all_k`."""
        return drafts_all_k(self.method, self.draft_options)


_DRAFT_RESERVED = frozenset(
    {"method", "model", "num_speculative_tokens", "prompt_lookup_min", "prompt_lookup_max"}
)
_MORE_DEVICES = frozenset({"pipeline_parallel_size", "data_parallel_size"})
_RESERVED = frozenset(
    {
        "model",
        "served_model_name",
        "speculative_config",
        "scheduler_cls",
        "worker_cls",
        "per_request_spec_decode_metrics",
        "tensor_parallel_size",
        "dtype",
        "max_num_seqs",
        "max_model_len",
    }
)


def server_arguments(model: ModelSpec) -> dict[str, Any]:
    """The keyword arguments of vLLM's FrontendArgs, the settings of its OpenAI server.

    vLLM refuses `tool_choice` without a parser. The embedded model has one, so that clients with tools are
    served.
    """
    tools = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"} if model.path == EMBEDDED else {}
    return tools | model.server_args


def engine_arguments(profile: Profile, model: ModelSpec, *, folder: str, on_cpu: bool) -> dict[str, Any]:
    """The keyword arguments of vLLM's AsyncEngineArgs for one replica of `profile`.

    `folder` is the model's folder on this machine. See vLLM's documentation, "Engine Arguments" and
    "Speculative Decoding", for the meaning of each.
    """
    dtype = profile.dtype
    if dtype == "auto" and on_cpu:
        dtype = "float32"
    arguments: dict[str, Any] = {
        "model": folder,
        "served_model_name": [model.name],
        "dtype": dtype,
        "max_model_len": model.max_model_len,
        "max_num_seqs": profile.max_num_seqs,
        "enable_prefix_caching": True,
    }
    if on_cpu:
        if METHODS[profile.method].gpus_only:
            raise ValueError(f"profiles.{profile.name}.method: {profile.method} needs a GPU: choose another")
        arguments |= {
            "enforce_eager": True,
            "worker_cls": "replicas.cpu_worker.BoundCpuWorker",
            "distributed_executor_backend": "uni",
        }
    else:
        arguments |= {"tensor_parallel_size": profile.tensor_parallel_size}
        if profile.gpus < 1:  # or else each would take nearly all of the GPU they share
            arguments |= {"gpu_memory_utilization": round(_MEMORY_SHARE * profile.gpus, 3)}
    if profile.speculative:
        arguments |= {
            "speculative_config": _speculative_config(profile),
            "per_request_spec_decode_metrics": "detailed",
        }
    return arguments | profile.engine_args


def _speculative_config(profile: Profile) -> dict[str, Any]:
    config: dict[str, Any] = {"method": profile.method, "num_speculative_tokens": profile.k}
    if profile.method == "ngram":
        config |= {
            "prompt_lookup_min": profile.prompt_lookup.min,
            "prompt_lookup_max": profile.prompt_lookup.max,
        }
    elif profile.draft_model is not None:
        config |= {"model": profile.draft_model}
    return config | profile.draft_options
