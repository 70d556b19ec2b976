"""The GPU deployments that ship as examples become configurations that vLLM builds, from shapes without weights."""

from pathlib import Path
from typing import Any

import pytest

from replicas.drafter_check import drafter_problems
from replicas.drafting import METHODS
from replicas.profiles import ModelSpec, Profile, engine_arguments
from router.serving.config import load_config
from router.settings import DeploymentSettings

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "tests" / "shapes"
DEPLOYMENTS = sorted((ROOT / "k8s" / "profiles").glob("*.yaml"))
ADAPTING = "llama-3.1-8b-batch-table"
"""The deployment whose engine chooses k itself."""


def settings(file: Path) -> DeploymentSettings:
    return load_config(file).settings


def cases() -> list[Any]:
    return [
        pytest.param(file, profile, id=f"{file.stem}-{profile.name}")
        for file in DEPLOYMENTS
        for profile in settings(file).profiles
        if profile.speculative
    ]


def here(folder: str) -> str:
    """Where the shapes of the model in `folder` lie."""
    return str(SHAPES / Path(folder).name)


def placed(profile: Profile) -> Profile:
    """The profile with its drafter among the shapes."""
    if profile.draft_model is None:
        return profile
    return profile.model_copy(update={"draft_model": here(profile.draft_model)})


@pytest.mark.parametrize(("file", "profile"), cases())
def test_vllm_builds_the_configuration_of_every_gpu_profile(
    file: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target's, which is its plain neighbour's too, and the drafter's, with the method and the k that the profile names."""
    from vllm.config import ParallelConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    model = settings(file).model
    arguments = engine_arguments(placed(profile), model, folder=here(model.path), on_cpu=False)
    engine = AsyncEngineArgs(**arguments, skip_tokenizer_init=True)
    target = engine.create_model_config()
    assert target.max_model_len == model.max_model_len
    assert target.get_vocab_size() > 0
    if METHODS[profile.method].package is not None:
        # Only what vLLM asks first is answered for it: arctic-inference builds from source, and is not installed here. The
        # profile's refusal without it has a test of its own.
        monkeypatch.setattr("vllm.config.speculative.has_arctic_inference", lambda: True)
    over = ParallelConfig(
        tensor_parallel_size=profile.tensor_parallel_size, distributed_executor_backend="mp"
    )
    built = engine.create_speculative_config(target, over)
    assert (built.method, built.num_speculative_tokens) == (profile.method, profile.k)
    if profile.draft_model is not None:
        assert built.draft_model_config.model == here(profile.draft_model)
        assert built.draft_model_config.get_vocab_size() == target.get_vocab_size()
    assert (built.num_speculative_tokens_per_batch_size is not None) is (ADAPTING in file.name)


@pytest.mark.parametrize(("file", "profile"), cases())
def test_every_drafter_fits_its_target(file: Path, profile: Profile) -> None:
    """By its files; a package that is not installed here is the only thing that may be missing."""
    target = Path(here(settings(file).model.path))
    found = [line for line in drafter_problems(placed(profile), target) if "needs the package" not in line]
    assert found == []


def test_another_models_head_is_refused() -> None:
    """The control: Qwen's head does not fit Llama."""
    profile = Profile(name="p", method="eagle3", k=3, draft_model=here("qwen3-32b-eagle3"))
    assert list(drafter_problems(profile, SHAPES / "llama-3.1-8b-instruct"))


def test_a_pool_that_chooses_k_itself_has_a_table_for_every_batch() -> None:
    """From one request to the most it decodes at once, without a gap."""
    (profile,) = (one for one in settings(ROOT / "k8s" / "profiles" / f"{ADAPTING}.yaml").profiles if one.k)
    table = profile.draft_options["num_speculative_tokens_per_batch_size"]
    covered = [size for first, last, _ in table for size in range(first, last + 1)]
    assert covered == list(range(1, profile.max_num_seqs + 1))
    assert max(k for *_, k in table) == profile.k


def test_every_deployment_says_where_it_comes_from_and_what_it_needs() -> None:
    """The head of each file has the weights' size, the GPUs that hold them, and a source for its figures."""
    for file in DEPLOYMENTS:
        head = " ".join(line for line in file.read_text("utf-8").splitlines() if line.startswith("#"))
        assert {"GB", "GPU"} <= {word for word in ("GB", "GPU") if word in head}, f"{file.name}: sizing"
        assert "arXiv" in head or "https://" in head, f"{file.name}: source"


def test_every_model_of_a_deployment_has_shapes() -> None:
    """So that none of the checks above is skipped."""
    for file in DEPLOYMENTS:
        model: ModelSpec = settings(file).model
        folders = [model.path, *(one.draft_model for one in settings(file).profiles if one.draft_model)]
        assert all((Path(here(folder)) / "config.json").is_file() for folder in folders), file
