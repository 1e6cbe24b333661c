"""What services.ctr.uni_ctr tells a language model, and how it fits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ctr.uni_ctr.prompt_encoder import LONGEST_ID_TOKENS, PromptEncoder
from services.ctr.uni_ctr.prompts import PromptFormat, PromptItem, PromptMode, PromptParts, Prompts
from tests.tiny_language_models import word_tokenizer

FIELDS = ("brand", "price")
STRINGS = PromptItem("i1", "Steel strings", {"brand": "Ernie", "price": "6"})
TUNER = PromptItem("i2", "Clip tuner", {"brand": "Snark", "price": "15"})
GUITAR = PromptItem("i3", "Sunburst guitar with a long name", {"brand": "Fender", "price": "499"})
WORDS = """
    Scenario : music . User u1 liked , oldest first " Steel strings Clip tuner Candidate product i3 i2 i1 title
    Sunburst guitar with a long name ; brand Fender price 499 unknown nothing yet id the ids
"""
TOKENIZER = word_tokenizer(WORDS.split())


def parts(mode: PromptMode = "full", candidate: PromptItem = GUITAR, history: int = 2) -> PromptParts:
    return Prompts("music", mode, fields=FIELDS).parts("u1", [STRINGS, TUNER][2 - history :], candidate)


def decoded(ids: np.ndarray, mask: np.ndarray) -> list[str]:
    return [TOKENIZER.id_to_token(int(token)) for token in ids[mask == 1]]


class TestPrompts:
    """The words."""

    def test_the_full_prompt_says_domain_user_history_and_candidate_in_this_order(self) -> None:
        """The user comes first, so that all candidates share it."""
        assert parts().text == (
            'Scenario: music. User u1 liked, oldest first: "Steel strings" "Clip tuner". Candidate: product i3, title '
            '"Sunburst guitar with a long name"; brand Fender; price 499'
        )

    def test_the_mode_of_ids_and_names_says_no_text_of_the_catalogue(self) -> None:
        """But what each id is the id of."""
        text = parts("id-and-name").text
        assert text == "Scenario: music. User id u1 liked the product ids i1 i2. Candidate product id i3"

    def test_the_mode_of_ids_says_ids_alone(self) -> None:
        """With the domain."""
        assert parts("id-only").text == "music ; u1 ; i1 i2 ; i3"

    def test_only_the_latest_of_the_history_is_said(self) -> None:
        """Its end, oldest first."""
        history = [PromptItem(f"i{number}", f"Title {number}") for number in range(9)]
        said = Prompts("music", history_length=2).parts("u1", history, GUITAR).history
        assert said == (' "Title 7"', ' "Title 8"')
        assert Prompts("music", history_length=0).parts("u1", history, GUITAR).history == (" nothing yet",)

    @pytest.mark.parametrize("missing", ["", "  ", "nan", "NaN"])
    def test_what_is_missing_is_said_to_be_unknown(self, missing: str) -> None:
        """Title, field, user and history; a field that the item does not have is no different."""
        candidate = PromptItem("i3", missing, {"brand": missing})
        text = Prompts("music", fields=FIELDS).parts(missing, [], candidate).text
        assert 'title "unknown"; brand unknown; price unknown' in text
        assert "User unknown liked, oldest first: nothing yet." in text
        assert "nan" not in text.lower().replace("candidate", "")

    def test_a_value_is_said_on_one_line(self) -> None:
        """Breaks and tabs are spaces."""
        assert parts(candidate=PromptItem("i3", "Sunburst\n\n guitar\t")).candidate[1].value == '"Sunburst guitar"'

    def test_a_wrong_mode_or_length_is_refused(self) -> None:
        """With what was expected."""
        with pytest.raises(ValueError, match="mode: must be one of full, id-and-name, id-only, is 'short'"):
            Prompts("music", "short")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="history_length: must be 0 or more, is -1"):
            Prompts("music", history_length=-1)

    def test_prompts_are_imported_without_torch(self) -> None:
        """The ranking process has none."""
        code = "import sys, services.ctr.uni_ctr.prompt_encoder; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestPromptFormat:
    """What is kept of the prompts beside a trained network."""

    kept = PromptFormat("full", 128, 5, FIELDS, {"music": "musical instruments"})

    def test_it_is_read_as_it_was_written(self) -> None:
        """With domains that came later."""
        more = self.kept.with_domain("gift-cards", "gift cards, prepaid")
        assert PromptFormat.from_json(more.to_json()) == more
        assert more.without_domain("gift-cards") == self.kept

    def test_an_unknown_domain_is_told_by_its_name(self) -> None:
        """A known one by its text."""
        assert self.kept.prompts("music").domain_text == "musical instruments"
        assert self.kept.prompts("all_beauty-1").domain_text == "all beauty 1"

    @pytest.mark.parametrize("document", ["{", '{"mode": "full"}', "[]", '{"mode": "full", "fields": [], "odd": 1}'])
    def test_another_document_is_refused(self, document: str) -> None:
        """As a ValueError that names the file."""
        with pytest.raises(ValueError, match=r"prompts\.json"):
            PromptFormat.from_json(document)


class TestPromptEncoder:
    """Tokens and how they are cut."""

    def test_prompts_are_padded_on_the_right_with_a_mask(self) -> None:
        """Special tokens stand where the tokenizer's own encoding puts them."""
        long, short = parts(), parts("id-only", history=1)
        encoded = PromptEncoder(TOKENIZER, 99).encode([long, short])
        assert encoded.input_ids.dtype == encoded.attention_mask.dtype == np.int64
        assert encoded.input_ids[0].tolist() == TOKENIZER.encode(long.text).ids
        length = len(TOKENIZER.encode(short.text).ids)
        assert encoded.attention_mask[1].tolist() == [1] * length + [0] * (len(encoded.input_ids[0]) - length)
        assert encoded.input_ids[1, length:].tolist() == [0] * (len(encoded.input_ids[0]) - length)

    def test_the_tokenizers_own_truncation_and_padding_are_not_used(self) -> None:
        """Nor is the caller's tokenizer changed."""
        theirs = word_tokenizer(WORDS.split())
        theirs.enable_truncation(4)
        theirs.enable_padding(length=200)
        assert PromptEncoder(theirs, 99).encode([parts()]).input_ids.shape[1] == len(TOKENIZER.encode(parts().text).ids)
        assert theirs.truncation["max_length"] == 4

    def test_the_oldest_history_is_cut_first_and_the_candidate_stays(self) -> None:
        """Entry by entry."""
        whole = len(TOKENIZER.encode(parts().text).ids)
        for less, cut in ((0, 0), (1, 1), (4, 1), (5, 2), (8, 2)):
            encoded = PromptEncoder(TOKENIZER, whole - less).encode([parts()])
            text = " ".join(decoded(encoded.input_ids[0], encoded.attention_mask[0]))
            assert (encoded.history_cut[0], encoded.candidate_cut[0]) == (cut, 0)
            assert ("Steel strings" in text, "Clip tuner" in text) == (cut < 1, cut < 2)
            assert text.endswith('title " Sunburst guitar with a long name " ; brand Fender ; price 499 [SEP]')

    def test_a_candidate_that_is_too_long_alone_loses_the_end_of_its_longest_field(self) -> None:
        """And says how many tokens; ids, names and other fields stay."""
        bare = len(TOKENIZER.encode(parts().text).ids) - 8
        encoded = PromptEncoder(TOKENIZER, bare - 5).encode([parts()])
        text = " ".join(decoded(encoded.input_ids[0], encoded.attention_mask[0]))
        assert text.endswith('product i3 , title " Sunburst guitar ; brand Fender ; price 499 [SEP]')
        assert (encoded.history_cut[0], encoded.candidate_cut[0]) == (2, 5)

    def test_too_little_room_for_the_fixed_words_is_refused(self) -> None:
        """It is the configuration that must change."""
        with pytest.raises(ValueError, match="max_tokens: 3 too few"):
            PromptEncoder(TOKENIZER, 24).encode([parts()])
        assert PromptEncoder(TOKENIZER, 27).encode([parts()]).input_ids.shape == (1, 27)

    def test_no_prompt_is_refused(self) -> None:
        """An empty batch has no length."""
        with pytest.raises(ValueError, match="prompts: must hold at least one"):
            PromptEncoder(TOKENIZER, 24).encode([])

    def test_an_id_of_any_length_keeps_its_end(self) -> None:
        """Where ids differ; it cannot drive the candidate out."""
        candidate = replace(GUITAR, item_id=" ".join([*["long"] * 99, "i2"]))
        encoded = PromptEncoder(TOKENIZER, 128).encode([parts("id-only", candidate)])
        assert decoded(encoded.input_ids[0], encoded.attention_mask[0])[-2] == "i2"
        assert encoded.attention_mask.sum() == len(TOKENIZER.encode(parts("id-only").text).ids) + LONGEST_ID_TOKENS - 1

    def test_a_title_that_says_a_special_token_is_text(self) -> None:
        """It ends no prompt."""
        encoded = PromptEncoder(TOKENIZER, 99).encode([parts(candidate=PromptItem("i3", "[SEP] [PAD]"))])
        assert encoded.input_ids[0].tolist().count(TOKENIZER.token_to_id("[SEP]")) == 1
        assert TOKENIZER.token_to_id("[PAD]") not in encoded.input_ids[0]

    def test_candidates_of_one_user_share_their_first_tokens_whatever_is_cut(self) -> None:
        """The longest candidate decides for all."""
        candidates = [parts(candidate=candidate) for candidate in (STRINGS, TUNER, GUITAR)]
        room = len(TOKENIZER.encode(parts().text).ids) - 1
        encoded = PromptEncoder(TOKENIZER, room).encode(candidates, same_user=True)
        common = encoded.user_tokens[0]
        assert (encoded.user_tokens == common).all()
        assert (encoded.history_cut == 1).all()
        assert (encoded.input_ids[:, :common] == encoded.input_ids[0, :common]).all()
        assert PromptEncoder(TOKENIZER, room).encode(candidates).history_cut.tolist() == [0, 0, 1]

    def test_prompts_of_two_users_are_not_those_of_one(self) -> None:
        """A mistake of the caller."""
        with pytest.raises(ValueError, match="one opening and one history"):
            PromptEncoder(TOKENIZER, 99).encode([parts(), parts(history=1)], same_user=True)

    @settings(max_examples=60, deadline=None)
    @given(
        titles=st.lists(st.text(max_size=60), max_size=6),
        candidate=st.builds(
            PromptItem,
            st.text(max_size=20),
            st.text(max_size=300),
            st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=80)),
        ),
        max_tokens=st.integers(40, 90),
        same_user=st.booleans(),
    )
    def test_any_text_fits_and_a_candidate_is_cut_only_when_no_history_is_left(
        self, titles: list[str], candidate: PromptItem, max_tokens: int, same_user: bool
    ) -> None:
        """By the length of the tokens, for any titles and fields."""
        history = [PromptItem(str(place), title) for place, title in enumerate(titles)]
        prompts = Prompts("music", fields=FIELDS)
        asked = [prompts.parts("u1", history, item) for item in (candidate, GUITAR)]
        encoded = PromptEncoder(TOKENIZER, max_tokens).encode(asked, same_user)
        assert encoded.input_ids.shape[1] <= max_tokens
        assert encoded.attention_mask.shape == encoded.input_ids.shape
        for row, one in enumerate(asked):
            read = encoded.input_ids[row][encoded.attention_mask[row] == 1]
            tail = TOKENIZER.encode("".join(f"{words}{value}" for words, value, _ in one.candidate)).ids[1:]
            if encoded.candidate_cut[row]:
                assert encoded.history_cut[row] == len(one.history)
            elif candidate.item_id.split()[LONGEST_ID_TOKENS:] == []:
                assert read[encoded.user_tokens[row] :].tolist() == tail
