"""Two tokenizers are loaded and compared: a swapped special token, another cut of text, another vocabulary."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from small_tokenizer import Change, change_tokenizer, swap_special, write_tokenizer

from replicas.tokenizer_check import SAMPLES, TokenizerComparison, compare_tokenizers

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with a chat's special tokens."""
    folder = tmp_path_factory.mktemp("target")
    write_tokenizer(folder, SAMPLES)
    return folder


def compared(target: Path, tmp_path: Path, change: Change) -> TokenizerComparison:
    """The target's tokenizer with a change, as a drafter's."""
    drafter = tmp_path / "drafter"
    shutil.copytree(target, drafter)
    change_tokenizer(drafter, change)
    return compare_tokenizers(drafter, target)


def test_the_same_tokenizer_is_compatible(target: Path, tmp_path: Path) -> None:
    """Every token and every text is compared."""
    found = compared(target, tmp_path, lambda _tokenizer, _settings: None)
    assert (found.checked, found.problems, found.notes, found.tokens) == (True, (), (), 420)
    assert found.texts > len(SAMPLES)


def test_a_swapped_special_token_is_caught(target: Path, tmp_path: Path) -> None:
    """By its id, and by what a chat's text becomes."""
    found = compared(target, tmp_path, swap_special)
    assert found.problems[0].startswith("vocabulary: 2 tokens differ, as '<|im_start|>' is 1 there")
    assert any(line.startswith("texts: ") and "<|im_" in line for line in found.problems)


def test_a_swapped_role_is_caught(target: Path, tmp_path: Path) -> None:
    """The same ids, but another token ends an answer."""

    def other_end(_tokenizer: dict[str, Any], settings: dict[str, Any]) -> None:
        settings["eos_token"] = "<|endoftext|>"

    found = compared(target, tmp_path, other_end)
    assert found.problems == ("special tokens: eos_token is '<|endoftext|>', the target's '<|im_end|>'",)


def test_another_cut_of_the_same_vocabulary_is_caught(target: Path, tmp_path: Path) -> None:
    """Merges make the ids of a text, not the vocabulary alone."""

    def fewer_merges(tokenizer: dict[str, Any], _settings: dict[str, Any]) -> None:
        del tokenizer["model"]["merges"][0]

    found = compared(target, tmp_path, fewer_merges)
    (problem,) = found.problems
    assert problem.startswith("texts: ")
    assert "become other ids" in problem


def test_more_tokens_and_another_padding_do_no_harm(target: Path, tmp_path: Path) -> None:
    """They are noted."""

    def more(tokenizer: dict[str, Any], settings: dict[str, Any]) -> None:
        tokenizer["model"]["vocab"]["never"] = 420
        settings["pad_token"] = "<|endoftext|>"

    found = compared(target, tmp_path, more)
    assert found.problems == ()
    assert "the drafter has 1 tokens that the target lacks" in found.notes[0]
    assert found.notes[1].startswith("pad_token is '<|endoftext|>'")


def test_what_is_not_here_is_not_checked(target: Path, tmp_path: Path) -> None:
    """A model known by name, or a folder without tokenizer files."""
    for drafter in (None, tmp_path):
        found = compare_tokenizers(drafter, target)
        assert (found.checked, found.problems) == (False, ())
        assert "no tokenizer files of the drafter" in found.notes[0]


def test_a_tokenizer_that_cannot_be_loaded_is_a_problem(target: Path, tmp_path: Path) -> None:
    """Of one line, with the folder."""
    (tmp_path / "tokenizer.json").write_text("{", "utf-8")
    found = compare_tokenizers(tmp_path, target)
    assert found.checked is False
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path}: the drafter's tokenizer cannot be loaded")
    assert "\n" not in problem
