"""What a text must pass before it is kept."""

from __future__ import annotations

import pytest
from knowledge_parts import GOOD_TEXT, item

from services.knowledge.prompts import Prompt, PromptStyle, render
from services.knowledge.text_checks import MAX_CHARACTERS, MINIMUM_WORDS, RejectedText, accept, accept_ready_made
from services.scenarios import load_scenario


def prompt(style: PromptStyle = PromptStyle.OPEN) -> Prompt:
    """The prompt of a drama of 1994."""
    return render(item(), load_scenario("movies"), style)


def test_a_good_text_is_kept_as_it_is() -> None:
    """Nothing is changed where nothing is wrong."""
    assert accept(GOOD_TEXT, prompt(), "stop") == GOOD_TEXT


def test_lines_and_control_characters_become_one_line() -> None:
    """The stored text is one line of printable characters."""
    assert accept(GOOD_TEXT.replace(" ", "\n\x07 ", 4), prompt(), "stop") == GOOD_TEXT


@pytest.mark.parametrize("text", ["", "   \n\t", "\x00\x01"])
def test_an_empty_text_is_rejected(text: str) -> None:
    """White space and control characters are no answer."""
    with pytest.raises(RejectedText, match="empty"):
        accept(text, prompt(), "stop")


@pytest.mark.parametrize(
    "start",
    [
        "I'm sorry, but ",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, ",
        "Sorry, I ",
        "I cannot ",
        "I can't ",
        "As an AI ",
        "As a large language model, ",
        "I do not have enough information ",
        "I am unable ",
        "  I apologise ",
    ],
)
def test_a_refusal_is_rejected(start: str) -> None:
    """A model that declines has written no knowledge."""
    with pytest.raises(RejectedText, match="refusal"):
        accept(start + GOOD_TEXT, prompt(), "stop")


def test_words_of_refusal_inside_a_text_are_fine() -> None:
    """Only a text that begins so is a refusal."""
    text = GOOD_TEXT + " The hero says I'm sorry, I cannot stay, and leaves."
    assert accept(text, prompt(), "stop") == text


@pytest.mark.parametrize("marker", ["<|im_start|>assistant ", "<|eot_id|>", "[INST] ", "\nassistant: ", "\nUser: "])
def test_chat_markers_are_rejected(marker: str) -> None:
    """A text that goes on with the conversation is no paragraph."""
    with pytest.raises(RejectedText, match="chat markers"):
        accept(GOOD_TEXT + marker + GOOD_TEXT, prompt(), "stop")


def test_a_text_below_the_minimum_of_words_is_rejected() -> None:
    """The limit itself passes, one word less does not."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert len(words) == MINIMUM_WORDS
    assert accept(" ".join(words) + ".", prompt(), "stop")
    with pytest.raises(RejectedText, match=f"too short: {MINIMUM_WORDS - 1} of"):
        accept(" ".join(words[:-1]) + ".", prompt(), "stop")


def test_a_looping_text_is_rejected() -> None:
    """The same phrase again and again is what a small model writes when it is lost."""
    with pytest.raises(RejectedText, match="looping"):
        accept("It is a film about love and loss and love " + "and loss and love " * 4, prompt(), "stop")


def test_a_repeated_sentence_is_rejected() -> None:
    """Twice the same sentence is a loop even where no phrase comes four times."""
    with pytest.raises(RejectedText, match="looping"):
        accept(f"{GOOD_TEXT} {GOOD_TEXT}", prompt(), "stop")


def test_a_phrase_may_come_back_in_a_long_text() -> None:
    """Loops are looked for in windows: far apart, a phrase may be used often."""
    filler = [" ".join(f"word{number}x{part}" for part in range(60)) for number in range(5)]
    text = " ".join(f"{part} in the end." for part in filler)
    assert accept(text, prompt(), "stop") == text


def test_a_text_that_repeats_its_instructions_is_rejected() -> None:
    """An echo of the prompt is no knowledge."""
    with pytest.raises(RejectedText, match="prompt echo: the text repeats"):
        accept(prompt().system, prompt(), "stop")


def test_a_cut_text_is_trimmed_to_whole_sentences() -> None:
    """`length` means that the token limit cut the text."""
    cut = GOOD_TEXT + " And then the two of them at last dec"
    assert accept(cut, prompt(), "length") == GOOD_TEXT
    assert accept(cut, prompt(), "stop") == cut


def test_a_cut_text_without_a_whole_sentence_is_rejected() -> None:
    """What has no end says nothing to keep."""
    with pytest.raises(RejectedText, match="cut"):
        accept("A slow and tender story about two strangers who share a train compartment and", prompt(), "length")


def test_titles_and_numbers_do_not_end_a_sentence() -> None:
    """A cut text is not trimmed to `Mr.` or inside 4.5."""
    text = GOOD_TEXT + " It was rated 4.5 by Mr. Smi"
    assert accept(text, prompt(), "length") == GOOD_TEXT


def test_an_overlong_text_is_trimmed_to_the_contract() -> None:
    """The contract allows 16,384 characters."""
    sentences = " ".join(f"Scene{n} shows{n} places{n} with{n} moods{n} and lights{n}." for n in range(600))
    kept = accept(sentences, prompt(), "stop")
    assert MAX_CHARACTERS - 100 < len(kept) <= MAX_CHARACTERS
    assert kept.endswith(".")


def test_a_grounded_text_ends_before_the_first_name_that_was_not_given() -> None:
    """A small model invents names: what follows one is not kept."""
    grounded = prompt(PromptStyle.GROUNDED)
    first = f"{grounded.opening} a gentle mood and a story that takes its time to grow."
    text = f"{first} Tom Hanks plays the lead. The mood is warm."
    assert accept(text, grounded, "stop") == first
    assert accept(text, prompt(), "stop") == text


@pytest.mark.parametrize("invented", ["It won 11 prizes that year for its very quiet story of two people.", ""])
def test_a_grounded_text_that_begins_with_an_invention_is_rejected(invented: str) -> None:
    """There is nothing left to keep."""
    text = invented or "The great actor Meryl Streep is what they look for in all of these films."
    with pytest.raises(RejectedText, match="ungrounded"):
        accept(text, prompt(PromptStyle.GROUNDED), "stop")


def test_a_grounded_text_may_name_what_was_given() -> None:
    """Names and numbers of the prompt are facts."""
    text = "Viewers of the film Night Train of 1994 look for a gentle mood and a story that takes time."
    assert accept(text, prompt(PromptStyle.GROUNDED), "stop") == text


def test_a_script_without_spaces_counts_characters() -> None:
    """A Japanese text is not too short for want of spaces."""
    text = "静かな列車の中で出会った二人の物語です。"
    assert accept(text, prompt(), "stop") == text


def test_a_rejection_never_quotes_the_text() -> None:
    """Reasons go to logs and answers: no user text in them."""
    with pytest.raises(RejectedText) as rejected:
        accept("secretword " * 40, prompt(), "stop")
    assert "secretword" not in str(rejected.value)


def test_ready_made_texts_pass_the_checks_that_need_no_prompt() -> None:
    """On one line, and unchanged the second time."""
    text = "A slow film about two strangers.\n\nIt suits viewers who like dialogue more than action."
    once = accept_ready_made(text)
    assert "\n" not in once
    assert accept_ready_made(once) == once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("A film.", "too short"),
        ("I'm sorry, but I do not know this film well enough to say anything about it.", "refusal"),
        ("love and loss and " * 12, "looping"),
        ("word " * 4000, "too long"),
        ("<|im_start|>assistant A film about two strangers on a train that goes south.", "prompt echo"),
    ],
)
def test_unfit_ready_made_texts_are_rejected(text: str, words: str) -> None:
    """As those that our own providers write."""
    with pytest.raises(RejectedText, match=words):
        accept_ready_made(text)


def test_a_text_put_together_of_facts_may_repeat_itself() -> None:
    """It repeats what the facts repeat."""
    assert accept_ready_made("love and loss and " * 12, composed=True).startswith("love")
