"""The training job: one run over the offline store, registered as the next version. It promotes nothing.

Started by torchrun, its processes share each batch; the first one reports and registers.
"""

from __future__ import annotations

from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings, refuse_to_start
from services.trainer.data.datasets import DATASETS
from services.trainer.multi_domain.config import read_any_config
from services.trainer.settings import TrainerSettings
from services.trainer.training.config import InvalidConfig


def main() -> None:
    """Read settings and config, train, log the report. Ends with code 2 where they, or the stored data, are wrong."""
    settings = read_settings(TrainerSettings)
    configure_logs("trainer", settings.log_level)
    if settings.dataset not in DATASETS:
        refuse_to_start(f"LORELINE_TRAINER_DATASET: must be one of {', '.join(DATASETS)}; is {settings.dataset!r}")
    try:
        config = read_any_config(settings.config)
    except InvalidConfig as error:
        refuse_to_start(str(error))
    from services.trainer.job import run  # loads PyTorch, which takes seconds: after what was mistyped has been told

    run(settings, config)


if __name__ == "__main__":
    main()
