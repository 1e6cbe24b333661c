"""Reads a process's settings, or ends the process with the names of the variables that are missing or wrong."""

from __future__ import annotations

import sys
from typing import NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """The settings of the environment. Exits with code 2 when a variable is missing or has a wrong value."""
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        lines = [
            f"{prefix}{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in error.errors()
        ]
        refuse_to_start(*lines)


def refuse_to_start(*lines: str) -> NoReturn:
    """Print what is wrong, one line each, and exit with code 2."""
    sys.stderr.write("".join(f"cannot start: {line}\n" for line in lines))
    sys.exit(2)
