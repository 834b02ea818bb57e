"""Stages 1 to 8 of 8: the command line. Parses arguments, and imports a command when it is called.

Exit codes: 0 fine, 1 failed at run time, 2 bad usage or input, 130 interrupted. Results go to
standard output, everything else to stderr. SCANNER_TRACEBACK=1 shows the traceback of an error.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Literal

import typer

from feeds.errors import (
    DbnError,
    FeedError,
    JournalError,
    SecretError,
    SymbolError,
    TableError,
)
from kernels.errors import KernelError
from scanner.errors import InputError, ScannerError

FAILED: Final = 1
BAD_INPUT: Final = 2
# Errors that say all there is to say: one line, no traceback.
BAD_INPUTS: Final = (InputError, JournalError, TableError, DbnError, SymbolError, SecretError)
FAILURES: Final = (ScannerError, FeedError, KernelError, OSError)

# Plain help text: rich alone would take a third of the 0.3 s that --help may take.
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="TOML file; without it the defaults."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]

DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"] | None,
    typer.Option("--device", help="Where ticks run; without it as configured."),
]
Seconds = Annotated[
    float | None, typer.Option(min=0.001, metavar="S", help="Stop after this many seconds.")
]
Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        exists=True,
        help="Raw recording, table recording, or .dbn and .dbn.zst files (one, or a folder).",
    ),
]


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
def demo(
    *,
    seconds: Seconds = 60.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the market.")] = 1,
    listings_count: Annotated[
        int, typer.Option(min=100, max=10_000, metavar="N", help="Listings to simulate.")
    ] = 1_000,
    device: DeviceOption = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the raw recording here.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="F.svg", help="Write the fullest page as SVG.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Scan local venue servers: no network, no keys."""
    from scanner.commands.demo import demo as command  # noqa: PLC0415

    return command(
        seconds,
        seed=seed,
        listings_count=listings_count,
        device=device,
        record_to=record,
        picture=picture,
        as_json=as_json,
    )


@app.command()
def run(
    *,
    config: ConfigFile = None,
    seconds: Seconds = None,
    device: DeviceOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Record into this folder as well.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Scan the configured venues."""
    from scanner.commands.run import run as command  # noqa: PLC0415

    return command(config, seconds=seconds, device=device, record_to=out, as_json=as_json)


@app.command()
def record(
    *,
    config: ConfigFile = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder that gets one folder per run.")
    ] = Path("recordings"),
    seconds: Seconds = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Also write a table recording (Parquet).")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Record the configured venues without scanning them."""
    from scanner.commands.record import record as command  # noqa: PLC0415

    return command(config, out, seconds=seconds, tables=tables, as_json=as_json)


@app.command()
def replay(
    source: Source,
    *,
    config: ConfigFile = None,
    speed: Annotated[
        str, typer.Option(metavar="max|X", help="As fast as possible, or a factor of real time.")
    ] = "max",
    device: DeviceOption = None,
    as_json: AsJson = False,
) -> int:
    """Replay a recording: the same alerts as live, byte for byte."""
    from scanner.commands.arguments import speed_factor  # noqa: PLC0415
    from scanner.commands.replay import replay as command  # noqa: PLC0415

    return command(
        source,
        config=config,
        speed=speed_factor("--speed", speed),
        device=device,
        as_json=as_json,
    )


@app.command()
def databento(
    symbols: Annotated[
        list[str], typer.Argument(metavar="SYMBOL...", help="Such as SPY.OPT, all SPY options.")
    ],
    *,
    key_file: Annotated[
        Path, typer.Option(metavar="FILE", help="TOML with key, any name, and secret, the API key.")
    ],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Or GLBX.MDP3.")] = "OPRA.PILLAR",
    schemas: Annotated[
        str, typer.Option(metavar="A,B", help="What to subscribe to.")
    ] = "definition,statistics,cbbo-1s,trades",
    stype_in: Annotated[
        str, typer.Option(metavar="TYPE", help="What the symbols are: parent, raw_symbol, ...")
    ] = "parent",
    config: ConfigFile = None,
    seconds: Seconds = None,
    as_json: AsJson = False,
) -> int:
    """Scan US or CME options live from Databento; never run against the real service yet."""
    from scanner.commands.databento import databento as command  # noqa: PLC0415
    from scanner.commands.databento import subscription  # noqa: PLC0415

    return command(
        subscription(dataset, schemas, symbols, stype_in),
        key_file=key_file,
        config=config,
        seconds=seconds,
        as_json=as_json,
    )


@app.command()
def features(
    source: Source,
    *,
    out: Annotated[Path, typer.Option(metavar="F.parquet", help="File to write.")],
    every: Annotated[
        str, typer.Option(metavar="TIME", help="Grid, a multiple of the tick: 500ms, 10s, 1m.")
    ] = "10s",
    columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns to write; without it all.")
    ] = None,
    listings: Annotated[
        str | None, typer.Option(metavar="V:S,...", help="Listings as venue:symbol; else all.")
    ] = None,
    config: ConfigFile = None,
    device: DeviceOption = None,
    as_json: AsJson = False,
) -> int:
    """Write every metric of every listing on a time grid."""
    from scanner.commands.arguments import duration_ns, names  # noqa: PLC0415
    from scanner.commands.features import features as command  # noqa: PLC0415

    return command(
        source,
        out,
        every_ns=duration_ns("--every", every),
        columns=names("--columns", columns),
        listings=names("--listings", listings),
        config=config,
        device=device,
        as_json=as_json,
    )


@app.command()
def universe(
    *,
    config: ConfigFile = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", exists=True, metavar="SOURCE", help="A recording's listings."),
    ] = None,
    venue: Annotated[str | None, typer.Option(metavar="NAME", help="One venue only.")] = None,
    as_json: AsJson = False,
) -> int:
    """List what would be scanned: listings, contracts, expiries."""
    from scanner.commands.universe import universe as command  # noqa: PLC0415

    return command(config, source=source, venue=venue, as_json=as_json)


@app.command()
def explain(
    alert_id: Annotated[str, typer.Argument(metavar="ALERT_ID", help="32 hex digits.")],
    *,
    source: Annotated[
        Path,
        typer.Option("--from", exists=True, metavar="FILE", help="Alerts (.jsonl) or a recording."),
    ],
) -> int:
    """Show what made one alert: drivers, baselines, course."""
    from scanner.commands.explain import explain_alert  # noqa: PLC0415

    return explain_alert(alert_id, source)


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


@app.command("compile")
def compile_kernels(
    *,
    capability: Annotated[
        list[str] | None,
        typer.Option(metavar="X.Y", help="GPU architecture, such as 9.0; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Compile the kernels into the cache and stop, as a container image does."""
    from scanner.commands.compile import fill_cache  # noqa: PLC0415

    return fill_cache(capability or (), as_json=as_json)


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
