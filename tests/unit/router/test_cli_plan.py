"""`specroute plan`: pairs, deployments, exit codes, and what cannot be planned."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from small_tokenizer import change_tokenizer, swap_special, write_tokenizer
from typer.testing import CliRunner, Result

from replicas.drafting import PACKAGED
from router.cli import app

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
SHAPES = ROOT / "tests" / "shapes"
DEPLOYMENTS = sorted((ROOT / "k8s" / "profiles").glob("*.yaml"))
PAIR = ("--target", "llama-3.3-70b", "--drafter", "llama-3.1-8b", "--gpu", "h100", "--gpus", "4")
BUILT_FOR = {
    "glm-4.5-air-mtp": "a100-80gb",
    "llama-3.1-8b-batch-table": "l4-24gb",
    "llama-3.1-8b-copying": "l4-24gb",
    "llama-3.1-8b-eagle3": "l4-24gb",
    "llama-3.3-70b-draft-8b": "a100-80gb",
    "qwen3-8b-dflash": "l40s-48gb",
    "qwen3-32b-eagle3": "a100-80gb",
}
"""The least GPUs that the deployments under k8s/profiles are made for, as their comments say."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def planned(*arguments: str, code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_pair() -> None:
    """Memory, size, speedups with break-even, placements and assumptions, in one plan."""
    plan = planned(*PAIR, "--k", "4", "--alpha", "0.75")
    assert plan["ok"]
    assert (plan["target"]["parameters"], plan["drafter"]["parameters"]) == (70_553_706_496, 8_030_261_248)
    assert plan["size"]["verdict"] == "good"
    (gain,) = plan["gains"]
    (speedup,) = gain["speedups"]
    assert speedup["rule_of_thumb"] == 2.125
    assert 1 < speedup["at_load"] <= speedup["alone"]
    assert 0 < gain["break_even_alpha"] < 0.75
    assert {one["name"] for one in plan["placements"]} == {"single", "separate", "apart"}
    assert plan["tokenizer"]["compatible"] is None
    assert plan["assumptions"]


def test_without_a_gpu_the_smallest_that_does_is_found() -> None:
    """And it is said; where none does, that is the result."""
    plan = planned("--target", "llama-3.1-8b")
    assert (plan["gpu"]["name"], plan["gpu"]["chosen"]) == ("l4-24gb", True)
    assert planned("--target", "deepseek-v3", code=1)["ok"] is False


def test_what_does_not_fit_says_what_would() -> None:
    """Exit code 1, with the way out."""
    result = run("--target", "llama-3.3-70b", "--gpu", "h100")
    assert result.exit_code == 1
    assert "the engine does not start" in result.output
    assert "more --gpus" in result.output
    assert result.output.rstrip().endswith("does not work as asked")
    crowded = planned("--target", "llama-3.1-8b", "--gpu", "l4", "--concurrency", "500", code=1)
    assert "of 500 requests fit at once" in crowded["warnings"][0]


def test_quantised_drafters_are_smaller_and_cheaper() -> None:
    """In weights and in c."""
    full = planned(*PAIR, "--k", "4")
    small = planned(*PAIR, "--k", "4", "--drafter-quantization", "int4")
    assert small["memory"]["draft_weights_gib"] < 0.4 * full["memory"]["draft_weights_gib"]
    assert small["gains"][0]["draft_cost"] < 0.5 * full["gains"][0]["draft_cost"]


def test_a_flagged_size_warns() -> None:
    """Over 30 % of the target is no reason to refuse."""
    plan = planned("--target", "qwen3-14b", "--drafter", "qwen3-8b", "--gpu", "h100")
    assert plan["size"]["verdict"] == "flagged"
    assert any("over 30 % of the target" in line for line in plan["warnings"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--target", "qwen2.5-7b", "--gpu", "l4", "--gpus", "8"),
            "gpus: 28 attention heads cannot be split",
        ),
        ((*PAIR, "--gpus", "3"), "gpus: 64 attention heads cannot be split evenly over 3 GPUs: take 2"),
        ((*PAIR, "--gpus", "4", "--draft-gpus", "2"), "vLLM splits a drafter over 1 GPU or as many as"),
    ],
)
def test_gpus_that_vllm_does_not_split_a_model_over_are_a_problem(
    arguments: tuple[str, ...], words: str
) -> None:
    """It would refuse to start."""
    assert words in planned(*arguments, code=1)["problems"][0]


def test_other_vocabulary_sizes_are_a_problem() -> None:
    """As vLLM has it; unless the vocabularies may differ."""
    pair = ("--target", "qwen2.5-7b", "--drafter", "qwen2.5-0.5b", "--gpu", "h100")
    plan = planned(*pair, code=1)
    assert "vocab_size: the drafter's is 151936, the target's 152064" in plan["problems"][0]
    assert planned(*pair, "--heterogeneous")["problems"] == []


def test_another_models_head_is_a_problem() -> None:
    """By its width."""
    plan = planned("--target", "llama-3.1-8b", "--drafter", "qwen3-32b-eagle3", "--gpu", "h100", code=1)
    assert plan["drafter"]["method"] == "eagle3"
    assert "a head for hidden states of 5120, the target's have 4096" in plan["problems"][0]


def test_the_embedded_model_is_planned_on_this_machine() -> None:
    """Float32 weights, and the blocks of the KV cache that its profile has."""
    plan = planned("--target", "embedded", "--method", "ngram")
    assert plan["gpu"]["name"] == "cpu"
    assert plan["target"]["precision"] == "float32"
    assert (plan["memory"]["kv_bytes_per_token"], plan["memory"]["kv_capacity_tokens"]) == (46_080, 23_296)


def test_embedded_is_the_packaged_drafter() -> None:
    """As in a profile's draft_model: the EAGLE-3 head that ships, never the target itself."""
    plans = [
        planned("--target", "embedded", "--drafter", "embedded", *method)
        for method in ((), ("--method", "eagle3"))
    ]
    assert plans[0] == plans[1]
    drafter = plans[0]["drafter"]
    assert (drafter["name"], drafter["method"]) == (PACKAGED.name, "eagle3")
    file = (PACKAGED / "model.safetensors").stat().st_size
    assert drafter["parameters"] * 2 == pytest.approx(file, rel=0.01)
    assert plans[0]["problems"] == []


def test_a_drafter_is_asked_for_as_much_as_it_can(tmp_path: Path) -> None:
    """Unless it is asked for more: Medusa has a head per position, MTP layers are gone through whole."""
    heads, target = tmp_path / "medusa", tmp_path / "glm"
    heads.mkdir()
    target.mkdir()
    medusa = {"model_type": "medusa", "hidden_size": 4096, "vocab_size": 128256, "num_heads": 5}
    (heads / "config.json").write_text(json.dumps(medusa), "utf-8")
    glm = json.loads((SHAPES / "glm-4.5-air" / "config.json").read_text("utf-8"))
    (target / "config.json").write_text(json.dumps(glm | {"num_nextn_predict_layers": 3}), "utf-8")
    pair = ("--target", "llama-3.1-8b", "--drafter", str(heads), "--gpu", "h100")
    own = ("--target", str(target), "--method", "mtp", "--gpu", "h200", "--gpus", "4")
    for arguments, usual, asked, problem in (
        (pair, [1, 2, 3, 4, 5], "5,8", "k: 8 is more than the drafter's 5 heads: set k to 5 or less"),
        (
            own,
            [1, 2, 3],
            "2,4,6",
            "k: 4 is more than the target's 3 MTP layers, and no multiple of them: set k to 3",
        ),
    ):
        plan = planned(*arguments)
        assert [gain["k"] for gain in plan["gains"]] == usual
        assert planned(*arguments, "--k", asked, code=1)["problems"] == [problem]


@pytest.mark.parametrize("key", ["num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers"])
def test_layers_that_draft_have_several_names(tmp_path: Path, key: str) -> None:
    """By architecture; each is read."""
    config = json.loads((SHAPES / "qwen3-32b" / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {key: 1}), "utf-8")
    plan = planned("--target", str(tmp_path), "--method", "mtp", "--gpu", "h200")
    assert plan["drafter"]["parameters"] > 0


def test_a_block_drafter_is_planned() -> None:
    """DFlash: a billion parameters for Qwen3 8B, one pass for all k."""
    plan = planned("--target", "qwen3-8b", "--drafter", str(SHAPES / "qwen3-8b-dflash-b16"), "--gpu", "h100")
    assert plan["drafter"]["method"] == "dflash"
    assert plan["drafter"]["parameters"] == pytest.approx(1.05e9, rel=0.01)
    costs = {gain["k"]: gain["k"] * gain["draft_cost"] for gain in plan["gains"]}
    assert costs[8] == pytest.approx(costs[1], rel=0.01)


def test_a_drafter_that_was_trained_to_may_draft_in_one_pass(tmp_path: Path) -> None:
    """All k for the price of one; its file must name the token for the places to come."""
    pair = ("--target", "qwen3-32b", "--method", "draft_model", "--gpu", "h200", "--k", "1,8")
    config = {"model_type": "qwen3", "vocab_size": 151936, "num_attention_heads": 16, "hidden_size": 1024}
    config |= {"num_hidden_layers": 28, "intermediate_size": 3072, "pard_token": 151665}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config), "utf-8")
    drafter = ("--drafter", str(tmp_path))
    one, eight = planned(*pair, *drafter, "--parallel-drafting")["gains"]
    assert 8 * eight["draft_cost"] == pytest.approx(one["draft_cost"], rel=0.03)
    again, each = planned(*pair, *drafter)["gains"]
    assert again["draft_cost"] == one["draft_cost"]
    assert each["draft_cost"] > 4 * eight["draft_cost"]
    del config["pard_token"]
    file.write_text(json.dumps(config), "utf-8")
    (problem,) = planned(*pair, *drafter, "--parallel-drafting", code=1)["problems"]
    assert problem.startswith("--drafter: its config.json names no token for the places to come")


def test_a_swapped_special_token_is_a_problem(tmp_path: Path) -> None:
    """Of a drafter of the right size and vocabulary; exit code 1, and the token is named."""
    target, drafter = tmp_path / "target", tmp_path / "drafter"
    config = {"model_type": "llama", "vocab_size": 420, "num_attention_heads": 8, "intermediate_size": 4096}
    for folder, layers, width in ((target, 24, 2048), (drafter, 8, 1024)):
        write_tokenizer(folder, ("a small text of some words",))
        shape = config | {"num_hidden_layers": layers, "hidden_size": width}
        (folder / "config.json").write_text(json.dumps(shape), "utf-8")
    pair = ("--target", str(target), "--drafter", str(drafter), "--gpu", "l4")
    sound = planned(*pair)
    assert (sound["tokenizer"]["checked"], sound["tokenizer"]["compatible"]) == (True, True)
    change_tokenizer(drafter, swap_special)
    found = planned(*pair, code=1)
    assert found["tokenizer"]["compatible"] is False
    assert found["memory"]["fits"]
    assert "vocabulary: 2 tokens differ, as '<|im_start|>' is 1 there" in found["problems"][0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name --target, or --config"),
        (["--target", "a", "--config", "b"], "name --target, or --config"),
        (["--config", "x", "--drafter", "y"], "go with --target"),
        (["--target", "qwen3-33b"], "--target: qwen3-33b: no such folder"),
        (["--target", "qwen3-32b", "--drafter", "nope"], "--drafter: nope: no such folder"),
        (["--target", "qwen3-32b", "--gpu", "h1000"], "gpu: 'h1000' is unknown; did you mean"),
        (["--target", "qwen3-32b", "--quantization", "q4"], "qwen3-32b: quantization: 'q4' is unknown"),
        (["--target", "qwen3-32b", "--method", "mtp"], "the target has no MTP layers"),
        (["--target", "qwen3-32b", "--method", "eagle3"], "--drafter: method eagle3 needs one"),
        (
            ["--target", "llama-3.1-8b", "--drafter", "llama-3.2-1b", "--method", "eagle3"],
            "--method: eagle3, but its drafter is a language model by its files (llama): set method to",
        ),
        (
            ["--target", "embedded", "--drafter", "embedded", "--method", "draft_model"],
            "--method: draft_model, but its drafter is an EAGLE-3 head by its files (LlamaForCausalLMEagle3)",
        ),
        (
            ["--target", "qwen3-32b", "--drafter", "qwen3-8b", "--method", "ngram"],
            "--drafter: method ngram has none",
        ),
        (
            ["--target", "qwen3-32b", "--method", "ngram", "--parallel-drafting"],
            "--parallel-drafting is for methods draft_model and eagle3, not for ngram",
        ),
        (["--target", "qwen3-32b", "--k", "four"], "--k: expected whole numbers"),
        (["--target", "qwen3-32b", "--k", "0"], "--k: expected numbers from 1 to 32"),
        (["--target", "qwen3-32b", "--alpha", "1.5"], "--alpha: expected numbers from 0 to 1"),
        (["--target", "qwen3-32b", "--alpha", "nan"], "--alpha: expected numbers from 0 to 1"),
        (["--config", "missing.yaml"], "--config: missing.yaml: No such file"),
        (["--config", __file__], "not valid YAML"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str) -> None:
    """Exit code 2, and what to do."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_damaged_configuration_is_bad_input(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    result = run("--target", str(tmp_path))
    assert (result.exit_code, "hidden_size: missing" in result.output) == (2, True)
    (tmp_path / "config.json").write_text("nonsense", "utf-8")
    result = run("--target", str(tmp_path))
    assert (result.exit_code, "config.json: not JSON" in result.output) == (2, True)


@pytest.mark.parametrize("file", DEPLOYMENTS, ids=lambda file: file.stem)
def test_every_gpu_profile_fits_the_gpus_it_is_made_for(file: Path) -> None:
    """Every profile of every deployment, with the shapes of the tests; none is left out."""
    named = re.findall(r"\{name: ([\w.-]+), (?:method|device)", file.read_text("utf-8"))
    plan = planned("--config", str(file), "--shapes", str(SHAPES), "--gpu", BUILT_FOR[file.stem])
    assert [one["profile"] for one in plan["profiles"]] == named
    assert len(named) > 1
    for one in plan["profiles"]:
        assert (one["ok"], one["problems"], one["warnings"]) == (True, [], [])
        assert one["memory"]["requests_held"] >= 1
        print(file.stem, one["profile"], one["gpu"]["name"], one["memory"])


def test_a_deployment_on_gpus_that_are_too_small() -> None:
    """Exit code 1; the profile that fits is told apart."""
    file = ROOT / "k8s" / "profiles" / "llama-3.3-70b-draft-8b.yaml"
    plan = planned("--config", str(file), "--gpu", "l40s", code=1)
    assert [one["ok"] for one in plan["profiles"]] == [True, False]
    assert run("--config", str(file), "--gpu", "l4").exit_code == 1


def test_a_deployment_that_is_none_is_bad_input(tmp_path: Path) -> None:
    """As `serve --check` tells it, and models that nobody knows."""
    file = tmp_path / "serve.yaml"
    text = (ROOT / "k8s" / "profiles" / "qwen3-32b-eagle3.yaml").read_text("utf-8")
    file.write_text(text.replace("path: /models/qwen3-32b,", "path: /models/qwen9,"), "utf-8")
    result = run("--config", str(file))
    assert (result.exit_code, "model.path: /models/qwen9: no such folder" in result.output) == (2, True)
    file.write_text(text.replace("gpus: 2", "gpus: 2, engine_args: {gpu_memory_utilization: much}"), "utf-8")
    result = run("--config", str(file))
    assert result.exit_code == 2
    assert "profiles.vanilla.engine_args.gpu_memory_utilization: expected a number above 0" in result.output
    file.write_text(text.replace("method: eagle3", "method: medusa"), "utf-8")
    result = run("--config", str(file))
    assert result.exit_code == 2
    assert "profiles.eagle3.method: medusa, but its drafter is an EAGLE-3 head" in result.output
    file.write_text(text.replace("method: eagle3", "method: eagle9"), "utf-8")
    result = run("--config", str(file))
    assert (result.exit_code, "profiles" in result.output) == (2, True)


@pytest.mark.parametrize("name", ["fp8", "fp8_per_block", "int8_per_channel_weight_only"])
def test_weights_that_vllm_quantises_while_it_loads_are_small(tmp_path: Path, name: str) -> None:
    """Under all the names that it knows them by."""
    text = (ROOT / "k8s" / "profiles" / "llama-3.1-8b-copying.yaml").read_text("utf-8")
    file = tmp_path / "serve.yaml"
    file.write_text(
        text.replace("device: cuda", f"device: cuda, engine_args: {{quantization: {name}}}"), "utf-8"
    )
    small = planned("--config", str(file), "--gpu", "h100")["profiles"][0]["memory"]["weights_gib"]
    file.write_text(text, "utf-8")
    whole = planned("--config", str(file), "--gpu", "h100")["profiles"][0]["memory"]["weights_gib"]
    assert 0.5 < small / whole < 0.6


def test_engines_that_share_a_gpu_have_a_part_of_it(tmp_path: Path) -> None:
    """Two with half of it each take half of the budget, and the weights whole."""
    text = (ROOT / "k8s" / "profiles" / "llama-3.1-8b-copying.yaml").read_text("utf-8")
    file = tmp_path / "serve.yaml"
    file.write_text(text.replace("device: cuda", "device: cuda, gpus: 0.5"), "utf-8")
    half = planned("--config", str(file), "--gpu", "h100")["profiles"][0]["memory"]
    file.write_text(text, "utf-8")
    whole = planned("--config", str(file), "--gpu", "h100")["profiles"][0]["memory"]
    assert half["budget_gib"] == pytest.approx(whole["budget_gib"] / 2, rel=0.01)
    assert half["weights_gib"] == whole["weights_gib"]


def test_uncertain_sizes_warn(tmp_path: Path) -> None:
    """An architecture that is not known, and weights of another number than the shape has."""
    config = json.loads((SHAPES / "qwen3-32b" / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "unheard"}), "utf-8")
    header = json.dumps({"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    warnings = planned("--target", str(tmp_path))["warnings"]
    assert "model_type 'unheard' is not known: counted like Llama" in warnings[0]
    assert "its files hold 0.000 B parameters, its config.json makes 32.7" in warnings[1]


def test_the_built_in_deployment_is_planned_on_the_cpu() -> None:
    """The embedded model's two engines."""
    plan = planned("--config", str(ROOT / "router" / "embedded.yaml"))
    assert {one["gpu"]["name"] for one in plan["profiles"]} == {"cpu"}
    assert {one["memory"]["kv_capacity_tokens"] for one in plan["profiles"]} == {23_296}


def test_the_examples_of_the_documentation() -> None:
    """What docs/plan.md shows is what the commands print."""
    blocks = re.findall(
        r"```sh\nspecroute plan (.*?)\n```\n```\n(.*?)\n```",
        (ROOT / "docs" / "plan.md").read_text("utf-8"),
        re.DOTALL,
    )
    assert len(blocks) == 2
    for command, shown in blocks:
        arguments = [str(ROOT / word) if word.startswith("k8s/") else word for word in command.split()]
        printed = run(*arguments).stdout
        assert [line.rstrip() for line in printed.splitlines() if line.strip()] == [
            line.rstrip() for line in shown.splitlines() if line.strip()
        ]
