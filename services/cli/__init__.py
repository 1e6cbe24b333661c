"""The `loreline` command: a thin face on the rest.

__main__.py binds the commands together. A folder holds what several commands have in common: training, evaluation,
knowledge, models, dead_letters; there `commands.py` reads arguments and prints, and the other files do the work.
Arguments, config names and files are checked before PyTorch or Feast is imported, so that a slip is told at once.

Exit codes (output.py): 0 done, 1 not possible now, 2 wrong input. Tables go to standard output, with --json one JSON
document; progress and errors go to standard error.
"""
