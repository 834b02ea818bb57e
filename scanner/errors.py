"""Stages 3 to 8 of 8: what can go wrong in the scanner itself.

ScannerError
├── IdentityError    one symbol of a venue that now names something else
├── InputError       what the user gave cannot be used: a file, an option, a value
│   ├── ConfigError      a configuration with problems, all of them listed
│   └── CheckpointError  a checkpoint that cannot be read, written or used
└── RunError         a run that cannot go on: the world failed after a good start
"""


class ScannerError(Exception):
    """Anything that went wrong in the scanner."""


class IdentityError(ScannerError):
    """A live symbol that is offered again with another identity."""


class InputError(ScannerError):
    """Something the user gave cannot be used; the command line exits with 2."""


class ConfigError(InputError):
    """A configuration that cannot be used.

    Attributes:
        problems: one line for each thing that is wrong, in the order of the keys.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CheckpointError(InputError):
    """A checkpoint file that cannot be read, written or used."""


class RunError(ScannerError):
    """A run that cannot go on; the command line exits with 1."""
