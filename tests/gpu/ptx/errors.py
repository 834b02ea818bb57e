"""What the interpreter raises."""


class PtxError(Exception):
    """Anything wrong with a PTX text or with its execution."""


class UnsupportedPtx(PtxError):  # noqa: N818 - it names what the text is
    """The text holds something that this interpreter does not model exactly; it never guesses."""


class MachineFault(PtxError):  # noqa: N818 - the fault is of the program executed
    """The program did what no program may do: a race, a wild address, a deadlock."""
