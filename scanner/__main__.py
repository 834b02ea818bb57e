"""Stages 1 to 8 of 8: the command line. Parses arguments, and imports a command when it is called.

Exit codes: 0 fine, 1 failed at run time, 2 bad usage or input, 130 interrupted. Results go to
standard output, everything else to stderr. SCANNER_TRACEBACK=1 shows the traceback of an error.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final

import typer

from feeds.errors import FeedError, SymbolError, TableError
from kernels.errors import KernelError
from scanner.errors import InputError, ScannerError

FAILED: Final = 1
BAD_INPUT: Final = 2
# Errors that say all there is to say: one line, no traceback.
BAD_INPUTS: Final = (InputError, TableError, SymbolError)
FAILURES: Final = (ScannerError, FeedError, KernelError, OSError)

# Plain help text: rich alone would take a third of the 0.3 s that --help may take.
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="TOML file; without it the defaults."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]


@app.callback(invoke_without_command=True)
def scanner(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Scan every listed option of every venue, and rank what is unusual now."""
    if version:
        from scanner import __version__  # noqa: PLC0415

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def doctor(
    *,
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where recordings would go.")
    ] = Path("recordings"),
    as_json: AsJson = False,
) -> int:
    """Say whether this machine is fit to scan."""
    from scanner.commands.doctor import doctor as command  # noqa: PLC0415

    return command(folder, as_json=as_json)


@app.command()
def check_config(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The same as --config FILE.")
    ] = None,
    *,
    config: ConfigFile = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the file and stop.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Check a configuration and print what is in effect."""
    from scanner.commands import check_config as commands  # noqa: PLC0415

    if schema:
        return commands.print_schema()
    if file and config:
        raise InputError(f"check-config: files were {file} and {config}, expected one")
    return commands.check_config(file or config, as_json=as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    sys.excepthook = _one_line
    show = os.environ.get("SCANNER_TRACEBACK") == "1"
    try:
        code = typer.main.get_command(app).main(arguments, "scanner", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _complain(error.format_message(), error.exit_code)
    except BAD_INPUTS as error:
        if show:
            raise
        return _complain(str(error), BAD_INPUT)
    except BrokenPipeError:
        return _leave_quietly()
    except FAILURES as error:
        if show:
            raise
        return _complain(str(error) or type(error).__name__, FAILED)
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"scanner: {message}\n")
    return code


def _leave_quietly() -> int:
    """End after the reader of our output has gone, as in `scanner ... | head`."""
    # Python flushes stdout once more at its exit, and would complain then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what nobody caught, a bug of ours, in one line; Python then exits with 1."""
    if os.environ.get("SCANNER_TRACEBACK") == "1":
        sys.__excepthook__(kind, error, trace)
        return
    first = str(error).partition("\n")[0]
    sys.stderr.write(
        f"scanner: internal error, {kind.__name__}: {first} (SCANNER_TRACEBACK=1 shows where)\n"
    )


if __name__ == "__main__":
    sys.exit(main())
