"""The Python API: ``charrnn.load`` and what it gives; ``charrnn.train`` is in test_training.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint import Checkpoint, save
from charrnn.config import ModelConfig
from charrnn.errors import CharrnnError, DataError, InputNotFoundError, UsageError
from charrnn.params import initial_values
from charrnn.text import CharVocabulary
from charrnn.text.tokens import WORDS
from charrnn.text.words import WordVocabulary

VOCABULARY = CharVocabulary("\n abcd")
LEXICON = WordVocabulary(["\n", "the", "cat", "cattle", "sat", ", "], WORDS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint file of a small untrained model."""
    config = ModelConfig(len(VOCABULARY), hidden_size=8, embed_size=8, layers=2)
    weights = initial_values(config, "orthogonal", np.random.default_rng(0))
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    save(Checkpoint(config, VOCABULARY, weights), path)
    return path


@pytest.fixture
def model(saved):
    return charrnn.load(saved)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    """The same of words."""
    config = ModelConfig(len(LEXICON), level="word", hidden_size=8, embed_size=8, tie=True)
    weights = initial_values(config, "orthogonal", np.random.default_rng(0))
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    save(Checkpoint(config, LEXICON, weights), path)
    return charrnn.load(path)


def test_a_file_and_its_folder_load_the_same(saved):
    assert charrnn.load(saved).sample(seed=1) == charrnn.load(str(saved.parent)).sample(seed=1)


def test_config_is_the_architecture(model):
    assert (model.config.hidden_size, model.config.layers) == (8, 2)


def test_sample_takes_what_the_command_takes(model):
    text = model.sample("abc", length=50, temperature=1.0, top_k=2, seed=7)
    assert len(text) == 50
    assert set(text) <= set(VOCABULARY.symbols)
    assert model.sample("abc", length=50, temperature=1.0, top_k=2, seed=7) == text


def test_one_stop_string_needs_no_list(model):
    whole = model.sample(length=40, seed=3)
    assert model.sample(length=40, seed=3, stop=whole[7:9]) == whole.partition(whole[7:9])[0]


def test_sample_refuses_what_is_out_of_range(model):
    with pytest.raises(UsageError, match="--temperature"):
        model.sample(temperature=-1)


def test_prompt_outside_the_vocabulary_is_named(model):
    with pytest.raises(DataError, match=r"'z' \(U\+007A\), '!' \(U\+0021\)"):
        model.sample("abz!a")


def test_logprobs_add_up_to_the_score(model):
    text = "abca dab\ncab"
    logprobs = model.logprobs(text)
    assert logprobs.shape == (len(text),)
    score = model.score(text)
    assert score.nats == pytest.approx(-logprobs.sum())
    assert score.bits_per_character == pytest.approx(score.nats / len(text) / math.log(2))


def test_logprobs_of_all_continuations_sum_to_one(model):
    """Over the vocabulary and the unknown symbol, here "z", after the same context."""
    last = [model.logprobs("ab c" + symbol)[-1] for symbol in "\n abcdz"]
    assert np.exp(last).sum() == pytest.approx(1, rel=1e-6)


def test_logprobs_agree_with_argmax_sampling(model):
    nearest = model.sample("ab", length=1, temperature=0)
    others = {s: model.logprobs("ab" + s)[-1] for s in VOCABULARY.symbols}
    assert max(others, key=others.__getitem__) == nearest


def test_score_counts_unknown_symbols_and_bytes(model):
    score = model.score("abé")
    assert (score.tokens, score.unknown, score.characters, score.bytes) == (3, 1, 2, 2)


def test_an_empty_text_has_no_logprobs(model):
    assert model.logprobs("").shape == (0,)


def test_an_empty_text_has_no_score(model):
    with pytest.raises(DataError, match="empty"):
        model.score("")


@pytest.mark.parametrize(
    "prompt, unknown, without",
    [
        ("", [], ""),
        ("the cat", [], "the cat"),
        ("the ca", [], "the ca"),
        ("the zyx ca", ["zyx"], "the ca"),
        ("zyx, zyx! ca", ["zyx", "! "], ", ca"),
        ("the zyx", ["zyx"], "the"),
        ("the zyx ", ["zyx"], "the "),
        ("the zyx;", ["zyx", ";"], "the"),
    ],
)
def test_unknown_words_of_a_prompt_but_for_one_that_is_growing(speaker, prompt, unknown, without):
    assert speaker.unknown_symbols(prompt) == unknown
    assert speaker.without_unknown(prompt) == without


def test_unknown_characters_of_a_prompt(model):
    assert model.unknown_symbols("abz!az") == ["z", "!"]
    assert model.without_unknown("abz!az") == "aba"


def test_a_prompt_with_an_unknown_word_is_continued(speaker):
    speaker.check_prompt("the zyx ca")
    assert speaker.sample("the zyx ca", length=1) in ("t", "ttle")


def test_words_are_counted_and_scored_as_such(speaker):
    score = speaker.score("the zyx, sat")
    assert (score.tokens, score.unknown, score.characters, score.bytes) == (4, 1, 8, 8)
    assert score.nats == pytest.approx(-speaker.logprobs("the zyx, sat").sum())
    assert score.bits_per_character == pytest.approx(score.nats / 8 / math.log(2))


def test_logprobs_of_all_next_words_sum_to_one(speaker):
    last = [speaker.logprobs(f"the cat{s}")[-1] for s in ["\n", " the", " cat", " cattle", " sat"]]
    last += [speaker.logprobs("the cat, ")[-1], speaker.logprobs("the cat zyx")[-1]]
    assert np.exp(last).sum() == pytest.approx(1, rel=1e-6)


def test_the_model_of_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(InputNotFoundError):
        charrnn.load(tmp_path / "nothing")


def test_the_public_names():
    assert sorted(charrnn.__all__) == ["CharrnnError", "__version__", "load", "train"]
    assert issubclass(DataError, CharrnnError)
