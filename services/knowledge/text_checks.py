"""What a text must pass before it is kept, whoever wrote it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from services.knowledge.prompts import Prompt, PromptStyle

MAX_CHARACTERS = 16_384  # the contract's limit of Knowledge.text
MINIMUM_WORDS = 10
WINDOW_WORDS = 80  # loops are looked for in windows, so that a long text may use a phrase more often
LOOP_PHRASE_WORDS, LOOP_REPEATS = 3, 4
ECHO_PHRASE_WORDS, ECHO_SHARE = 6, 0.3

# a script without spaces counts each character as a word
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\d+[.,]\d+|[^\W_]+(?:['\u2019][^\W_]+)*")
_SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bMrs)(?:[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s|$)|[\u3002\uff01\uff1f]+)"
)
_NAME_OR_NUMBER = re.compile(r"(?<=[^\s.!?:\u2026\"\u201c(\[/-] )[A-Z][\w'\u2019]+|\d+")
_CHAT_MARKER = re.compile(
    r"<\|[^|>]{1,40}\|>|\[/?INST\]|^\s*(?:system|user|assistant)\s*:", re.IGNORECASE | re.MULTILINE
)
_REFUSAL = re.compile(
    r"^\s*(?:(?:i'm|i am) sorry\b|sorry[,.] (?:but )?i\b|i apologi[sz]e|i can(?:no|')t\b"
    r"|(?:i am|i'm) (?:unable|not able)|as an ai\b|as a (?:large )?language model"
    r"|i (?:do not|don't) have (?:enough |any )?(?:information|access))",
    re.IGNORECASE,
)


class RejectedText(Exception):
    """A text failed a check; the message says which, without quoting the text. `check` names it in a word or two."""

    failure = "REJECTED_TEXT"

    def __init__(self, check: str, complaint: str) -> None:
        self.check = check
        super().__init__(f"{check}: {complaint}")


class SuspectText(RejectedText):
    """A text that reads like knowledge and is not to be believed.

    `reason` is that of loreline.knowledge.v1.SuspectReason, `text` what was written, `evidence` the words that gave it
    away: for people who look at suspects, never for logs.
    """

    failure = "SUSPECT"

    def __init__(self, reason: str, complaint: str, text: str, evidence: str = "") -> None:
        self.reason, self.evidence = reason, evidence
        self.text = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()  # a model may write half a character
        super().__init__(reason.lower().replace("_", " "), complaint)

    @property
    def detail(self) -> str:
        """The reason in words, with the evidence."""
        return f"{self} ({self.evidence})" if self.evidence else str(self)


def accept(text: str, prompt: Prompt, finish_reason: str) -> str:
    """The text on one line, trimmed to whole sentences where needed. Raises RejectedText.

    `finish_reason` is `stop`, `length` (the token limit cut the text) or empty.
    """
    line = _trimmed(_one_line(text), prompt, finish_reason)
    _check_line(line, composed=prompt.style is PromptStyle.FACTS)
    if _echo_share(_words(line), _words(prompt.instructions)) > ECHO_SHARE:
        raise SuspectText("PROMPT_ECHO", "the text repeats its instructions", line)
    return line


def accept_ready_made(text: str, composed: bool = False) -> str:
    """A text that was written elsewhere, on one line, unless it fails the checks that need no prompt.

    `composed`: it was put together of facts, so that it may repeat itself. Raises RejectedText, which is also the fate
    of a text over 16,384 characters. What this returns it accepts again, unchanged.
    """
    line = _one_line(text)
    if len(line) > MAX_CHARACTERS:
        raise RejectedText("too long", f"{len(line)} of at most {MAX_CHARACTERS} characters")
    _check_line(line, composed)
    return line


def _one_line(text: str) -> str:
    if _CHAT_MARKER.search(text):
        raise SuspectText("PROMPT_ECHO", "the text holds chat markers", text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not line:
        raise RejectedText("empty", "the model wrote nothing")
    if _REFUSAL.search(line.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        raise RejectedText("refusal", "the model declined to answer")
    return line


def _trimmed(line: str, prompt: Prompt, finish_reason: str) -> str:
    if finish_reason == "length" or len(line) > MAX_CHARACTERS:
        line = last_whole_sentence(line[:MAX_CHARACTERS])
        if not line:
            raise RejectedText("cut", "the token limit left no whole sentence")
    return grounded_part(line, prompt) if prompt.style is PromptStyle.GROUNDED else line


def _check_line(line: str, composed: bool) -> None:
    words = _words(line)
    if len(words) < MINIMUM_WORDS:
        raise RejectedText("too short", f"{len(words)} of at least {MINIMUM_WORDS} words")
    if not composed and _says_the_same(line, words):
        raise RejectedText("looping", "the text says the same again and again")


def _says_the_same(line: str, words: list[str]) -> bool:
    # not asked of a text composed of facts: it repeats what the facts repeat, and no other text would come of them
    return any(_loops(window) for window in _windows(words)) or _repeats_sentence(line)


def last_whole_sentence(line: str) -> str:
    """The line up to the end of its last whole sentence; empty when it has none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(line)]
    return line[: ends[-1]].strip() if ends else ""


def grounded_part(line: str, prompt: Prompt) -> str:
    """The sentences before the first one that names a person, place, work or number which the prompt does not.

    Raises RejectedText when there is none.
    """
    known = {word.lower() for word in re.findall(r"\w+", f"{prompt.system} {prompt.user} {prompt.opening}")}
    kept = ""
    for sentence in sentences(line):
        if any(part.lower() not in known for name in _names_in(sentence) for part in re.findall(r"\w+", name)):
            break
        kept += sentence
    if not kept.strip():
        raise RejectedText("ungrounded", "the first sentence names what the facts do not")
    return kept.strip()


def sentences(line: str) -> Iterator[str]:
    """The line in pieces that end with a sentence's end; joined they are the line."""
    start = 0
    for match in _SENTENCE_END.finditer(line):
        yield line[start : match.end()]
        start = match.end()
    if line[start:].strip():
        yield line[start:]


def _names_in(sentence: str) -> list[str]:
    return [
        name
        for name in _NAME_OR_NUMBER.findall(sentence)
        if name.split("'")[0].split("\N{RIGHT SINGLE QUOTATION MARK}")[0] != "I"
    ]


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _windows(words: list[str]) -> Iterator[list[str]]:
    for start in range(0, max(1, len(words) - WINDOW_WORDS // 2), WINDOW_WORDS // 2):
        yield words[start : start + WINDOW_WORDS]


def _loops(words: list[str]) -> bool:
    phrases = _phrases(words, LOOP_PHRASE_WORDS)
    return any(count >= LOOP_REPEATS for count in Counter(phrases).values())


def _repeats_sentence(line: str) -> bool:
    counts = Counter(tuple(_words(sentence)) for sentence in sentences(line))
    return any(count > 1 and len(words) >= MINIMUM_WORDS // 2 for words, count in counts.items())


def _echo_share(words: list[str], instructions: list[str]) -> float:
    said = _phrases(words, ECHO_PHRASE_WORDS)
    told = set(_phrases(instructions, ECHO_PHRASE_WORDS))
    return sum(phrase in told for phrase in said) / len(said) if said else 0.0


def _phrases(words: list[str], length: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[offset:] for offset in range(length)), strict=False))
