"""Settings from the environment: a process ends with the names of the variables that are missing, wrong or mistyped."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from loreline.domain import did_you_mean

UNKNOWN = "unknown_setting"  # the type of the fault of a variable that names no setting
# Kubernetes gives every container such variables of the services around it, as of one called loreline-ranking
KUBERNETES_LINK = re.compile(r"(service_(host|port(_\w+)?)|port(_\d+_(tcp|udp|sctp)(_(port|proto|addr))?)?)")


class EnvironmentSettings(BaseSettings):
    """Settings from the variables of one prefix, `env_prefix`, all of which must name a setting.

    A ValidationError names the setting; that of a mistyped variable has the type `UNKNOWN`.
    """

    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _every_variable_names_a_setting(cls, values: Any) -> Any:
        prefix, known = cls.model_config["env_prefix"].lower(), {name.upper(): name for name in cls.model_fields}
        given = {name.lower().removeprefix(prefix) for name in os.environ if name.lower().startswith(prefix)}
        unknown = sorted(given - set(known.values()))
        faults = [
            InitErrorDetails(
                type=PydanticCustomError(
                    UNKNOWN, "there is no such setting{near}", {"near": did_you_mean(name.upper(), known)}
                ),
                loc=(name,),
                input=None,
            )
            for name in unknown
            if not KUBERNETES_LINK.fullmatch(name)
        ]
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return values


Settings = TypeVar("Settings", bound=EnvironmentSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """The settings of the environment. Exits with code 2 when a variable is missing, mistyped or has a wrong value."""
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
