"""How many tokens a text may have for a model whose tokenizer is not here: rather too many than too few."""

from __future__ import annotations

import math
import re

from services.knowledge.prompts import ChatPrompt

LETTERS_PER_TOKEN = 3  # English has about four a token; long and rare words have fewer
CHAT_TOKENS = 32  # what a chat template puts around system and user
_LETTER = re.compile(r"[A-Za-z ]")


def estimated_tokens(text: str) -> int:
    """One token for three ASCII letters or spaces, one for any other ASCII character, one for a byte of the rest.

    No byte-level tokenizer gives more than one token a byte, so only letters are guessed at.
    """
    letters = len(_LETTER.findall(text))
    return math.ceil(letters / LETTERS_PER_TOKEN) + len(text.encode("utf-8", "replace")) - letters


def estimated_prompt_tokens(prompt: ChatPrompt) -> int:
    """Tokens of all parts of a prompt, and of what a server puts around them."""
    return CHAT_TOKENS + estimated_tokens(f"{prompt.system}\n\n{prompt.user}\n\n{prompt.opening}")
