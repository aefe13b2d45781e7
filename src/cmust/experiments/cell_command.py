"""What submitit pickles and runs as a job: a command line. Little is imported here: it waits beside the command."""

import subprocess
from collections.abc import Sequence
from typing import Any


class CellCommand:
    """A command; when the time of its job is up, the same once more: the cell that it computes goes on where it was."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    def __call__(self) -> None:
        """Run it; stopped, it stops the command.

        Raises:
            subprocess.CalledProcessError: the command failed.
        """
        subprocess.run(self.words, check=True)

    def checkpoint(self) -> Any:
        """What to put back into the queue."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
