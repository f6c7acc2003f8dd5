"""The command line: parse, call, print, exit. Everything that is drawn lives here."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from charrnn import __version__
from charrnn.cli import info, sample, train
from charrnn.errors import CharrnnError

app = typer.Typer(
    name="charrnn",
    help="Recurrent language models: train one on any text, generate from it, look inside.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (train.train, sample.sample, info.info):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    pass


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: errors become one line on stderr and their exit code."""
    argv = list(sys.argv[1:] if args is None else args)
    try:
        code = app(argv or ["--help"], prog_name="charrnn", standalone_mode=False)
    except typer.TyperException as error:
        _fail(2, error.format_message().rstrip(".") + "; see charrnn --help")
    except CharrnnError as error:
        _debug(argv)
        _fail(error.exit_code, str(error))
    except BrokenPipeError:  # whoever read our output has gone: end as quietly as cat does
        _die_by(signal.SIGPIPE)
    except MemoryError:
        _debug(argv)
        _fail(71, "not enough memory")
    except Exception as error:
        _debug(argv)
        command = shlex.join(["charrnn", "--debug", *argv])
        _fail(70, f"internal: {type(error).__name__}: {error}; please report it with: {command}")
    if code == 128 + signal.SIGINT:  # Typer makes it of a KeyboardInterrupt
        _die_by(signal.SIGINT)
    sys.exit(code)


def _debug(argv: Sequence[str]) -> None:
    if "--debug" in argv:
        import traceback

        traceback.print_exc()


def _fail(code: int, message: str) -> NoReturn:
    line = " ".join(message.split())
    print(f"charrnn: error: {line}", file=sys.stderr)
    sys.exit(code)


def _die_by(number: signal.Signals) -> NoReturn:
    """End by this signal, so that a shell sees what happened."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise AssertionError("unreachable")
