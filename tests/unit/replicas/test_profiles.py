"""What a profile may say, and the vLLM arguments it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from replicas.profiles import ModelSpec, Profile, StepCost, engine_arguments, server_arguments

pytestmark = pytest.mark.unit

MODEL = ModelSpec(name="m", max_model_len=1024)
NGRAM = Profile(name="ngram", method="ngram", k=5)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"method": "none", "k": 3}, "method is none"),
        ({"method": "ngram"}, "k to 1 or more"),
        ({"method": "draft_model", "k": 3}, "needs draft_model: the folder of a smaller model"),
        ({"method": "eagle3", "k": 3}, "needs draft_model: the folder of an EAGLE-3 head"),
        ({"method": "ngram", "k": 3, "draft_model": "/d"}, "method ngram has none"),
        ({"method": "mtp", "k": 1, "draft_model": "/d"}, "method mtp has none"),
        ({"method": "lookahead", "k": 3}, "'none', 'ngram', 'suffix', 'draft_model'"),
        ({"draft_options": {"parallel_drafting": True}}, "for a drafter, but method is none"),
        ({"method": "ngram", "k": 3, "draft_options": {"method": "x"}}, "must not set method"),
        ({"method": "dflash", "k": 3}, "needs draft_model: the folder of a DFlash drafter"),
        ({"method": "dspark", "k": 3, "draft_model": "/d", "device": "cpu"}, "needs a GPU"),
        ({"engine_args": {"scheduler_cls": "x", "model": "y"}}, "must not set model, scheduler_cls"),
        ({"engine_args": {"pipeline_parallel_size": 2}}, "an engine has `gpus` devices"),
        ({"prompt_lookup": {"min": 4, "max": 2}}, r"min \(4\) must not be above max \(2\)"),
        ({"name": "With Space"}, "String should match"),
        ({"kay": 3}, "Extra inputs"),
        ({"replicas": 0}, "greater than or equal to 1"),
    ],
)
def test_a_profile_that_cannot_work_is_refused(settings: dict[str, Any], complaint: str) -> None:
    """With a message that names the setting."""
    with pytest.raises(ValidationError, match=complaint):
        Profile.model_validate({"name": "p"} | settings)


TABLE = {"num_speculative_tokens_per_batch_size": [[1, 8, 3], [9, 16, 1]]}
PARALLEL = {"parallel_drafting": True}


@pytest.mark.parametrize(
    ("method", "options", "complaint"),
    [
        ("eagle", PARALLEL, "is for methods draft_model and eagle3, not for eagle"),
        ("medusa", PARALLEL, "not for medusa: leave it out"),
        ("medusa", TABLE, "cannot be asked for fewer"),
        ("eagle3", PARALLEL | TABLE, "cannot be asked for fewer"),
        ("dflash", TABLE, "cannot be asked for fewer"),
        ("dspark", {"enable_adaptive_verification": True}, "none keeps its own k"),
    ],
)
def test_options_that_take_a_requests_k_away_are_refused(
    method: str, options: dict[str, Any], complaint: str
) -> None:
    """And those that the method does not have."""
    settings = {"name": "p", "method": method, "k": 3, "draft_model": "/d", "draft_options": options}
    with pytest.raises(ValidationError, match=complaint):
        Profile.model_validate(settings)


@pytest.mark.parametrize(
    ("method", "options", "least"),
    [
        ("eagle3", {}, 1),
        ("eagle3", TABLE, 1),
        ("eagle3", PARALLEL, 3),
        ("draft_model", PARALLEL, 3),
        ("eagle3", {"parallel_drafting": False}, 1),
        ("medusa", {}, 3),
        ("dflash", {}, 3),
        ("dspark", {}, 3),
    ],
)
def test_drafters_that_work_for_all_k_say_so(method: str, options: dict[str, Any], least: int) -> None:
    """One after the other the least is one, from one pass it is all."""
    settings = {"name": "p", "method": method, "k": 3, "draft_model": "/d", "draft_options": options}
    profile = Profile.model_validate(settings)
    assert (profile.least_asked, profile.drafts_all_k) == (least, least > 1)


@pytest.mark.parametrize("profile", [Profile(name="v"), NGRAM, Profile(name="s", method="suffix", k=8)])
def test_drafters_that_copy_are_asked_for_nothing(profile: Profile) -> None:
    """Looking up takes next to no time, also where all k are always looked up."""
    assert profile.least_asked == 0


def test_a_method_for_gpus_starts_on_no_cpu() -> None:
    """Where nothing was said of the device, when it is known."""
    profile = Profile(name="p", method="dspark", k=7, draft_model="/d")
    assert engine_arguments(profile, MODEL, folder="/f", on_cpu=False)["speculative_config"]["model"] == "/d"
    with pytest.raises(ValueError, match=r"profiles\.p\.method: dspark needs a GPU"):
        engine_arguments(profile, MODEL, folder="/f", on_cpu=True)


@pytest.mark.parametrize("profile", [Profile(name="v"), NGRAM])
def test_only_profiles_with_a_drafter_are_speculative(profile: Profile) -> None:
    """VLLM refuses step counts on an engine that never speculates."""
    arguments = engine_arguments(profile, MODEL, folder="/f", on_cpu=True)
    assert profile.speculative is (profile.name == "ngram")
    assert ("speculative_config" in arguments) is profile.speculative
    assert ("per_request_spec_decode_metrics" in arguments) is profile.speculative


def test_an_ngram_profile_names_its_lookup() -> None:
    """Its k becomes the engine's largest."""
    arguments = engine_arguments(NGRAM, MODEL, folder="/f", on_cpu=True)
    assert arguments["speculative_config"] == {
        "method": "ngram",
        "num_speculative_tokens": 5,
        "prompt_lookup_min": 2,
        "prompt_lookup_max": 5,
    }
    assert (arguments["model"], arguments["served_model_name"], arguments["max_model_len"]) == (
        "/f",
        ["m"],
        1024,
    )


def test_a_draft_model_profile_names_its_drafter() -> None:
    """And nothing of the n-gram lookup."""
    profile = Profile(name="d", method="draft_model", k=3, draft_model="/d")
    config = engine_arguments(profile, MODEL, folder="/f", on_cpu=False)["speculative_config"]
    assert config == {"method": "draft_model", "num_speculative_tokens": 3, "model": "/d"}


@pytest.mark.parametrize(
    ("asked", "on_cpu", "dtype"),
    [("auto", True, "float32"), ("auto", False, "auto"), ("bfloat16", True, "bfloat16")],
)
def test_the_cpu_computes_in_float32_unless_told(asked: Any, on_cpu: bool, dtype: str) -> None:
    """Emulated bfloat16 is slow."""
    assert (
        engine_arguments(Profile(name="v", dtype=asked), MODEL, folder="/f", on_cpu=on_cpu)["dtype"] == dtype
    )


def test_the_hardware_decides_worker_and_parallelism() -> None:
    """On the CPU our worker, on GPUs tensor parallelism."""
    profile = Profile(name="v", gpus=2)
    on_cpu = engine_arguments(profile, MODEL, folder="/f", on_cpu=True)
    on_gpu = engine_arguments(profile, MODEL, folder="/f", on_cpu=False)
    assert on_cpu["worker_cls"].endswith("BoundCpuWorker")
    assert "tensor_parallel_size" not in on_cpu
    assert on_gpu["tensor_parallel_size"] == 2
    assert "worker_cls" not in on_gpu
    assert "gpu_memory_utilization" not in on_gpu


def test_engines_that_share_a_gpu_share_its_memory() -> None:
    """Each in proportion to its part, unless it is told otherwise."""

    def memory(**settings: Any) -> float:
        arguments = engine_arguments(Profile(name="v", **settings), MODEL, folder="/f", on_cpu=False)
        assert arguments["tensor_parallel_size"] == 1
        return float(arguments["gpu_memory_utilization"])

    assert memory(gpus=0.5) == 0.46
    assert memory(gpus=0.25) == 0.23
    assert memory(gpus=0.5, engine_args={"gpu_memory_utilization": 0.3}) == 0.3


def test_further_arguments_have_the_last_word() -> None:
    """They are passed as they stand."""
    profile = Profile(name="v", engine_args={"enforce_eager": False, "seed": 3})
    arguments = engine_arguments(profile, MODEL, folder="/f", on_cpu=True)
    assert (arguments["enforce_eager"], arguments["seed"]) == (False, 3)


def test_the_embedded_model_has_a_tool_parser() -> None:
    """Other models name their own; what is set has the last word."""
    assert server_arguments(MODEL)["tool_call_parser"] == "hermes"
    assert server_arguments(ModelSpec(server_args={"tool_call_parser": "xlam"}))["tool_call_parser"] == "xlam"
    assert server_arguments(ModelSpec(path="/models/m", server_args={"chat_template": "t"})) == {
        "chat_template": "t"
    }


def test_a_steps_cost_is_in_plain_steps() -> None:
    """Verification costs where something was drafted, a model drafter's tokens where they were asked for."""
    cost = StepCost(verify=0.5, per_token=0.1, per_draft_token=0.25)
    assert cost.plain_steps(drafted=0, asked=0) == 1.0
    assert cost.plain_steps(drafted=2, asked=4) == pytest.approx(1 + 0.5 + 0.2 + 1.0)
    assert cost.plain_steps(drafted=0, asked=4) == 2.0
