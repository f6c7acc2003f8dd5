"""The command line: parse, call, print, exit. Everything that is drawn lives here."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from charrnn import __version__
from charrnn.cli.console import escape, report
from charrnn.errors import CharrnnError

#: Commands, and the functions of modules here that they are.
COMMANDS = {
    "train": "train:train",
    "sample": "sample:sample",
    "complete": "complete:complete",
    "eval": "evaluate:eval_",
    "info": "info:info",
    "import": "exchange:import_",
}


def app(argv: Sequence[str]) -> typer.Typer:
    """The command that a command line begins with, or all: each takes 3 ms until it is known."""
    made = typer.Typer(
        name="charrnn",
        help="Recurrent language models: train one on any text, generate, complete, score.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    made.callback()(root)
    first = next((argument for argument in argv if argument != "--debug"), "")
    for name in [first] if first in COMMANDS else COMMANDS:
        module, function = COMMANDS[name].split(":")
        made.command(name)(getattr(import_module(f"charrnn.cli.{module}"), function))
    return made


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: errors become one line on stderr and their exit code."""
    if args is None:  # whoever read our output has gone: end as quietly as cat does
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        # What is closed leads nowhere: else the next file that is opened would get its number.
        sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    argv = list(sys.argv[1:] if args is None else args)
    try:
        code = app(argv)(argv or ["--help"], prog_name="charrnn", standalone_mode=False)
    except typer.TyperException as error:
        _fail(2, error.format_message().rstrip(".") + "; see charrnn --help")
    except CharrnnError as error:
        _debug(argv)
        _fail(error.exit_code, str(error))
    except OSError as error:
        _debug(argv)
        _fail(74, f"input or output failed: {error}")
    except MemoryError:
        _debug(argv)
        _fail(71, "not enough memory")
    except Exception as error:
        _debug(argv)
        command = shlex.join(["charrnn", "--debug", *argv])
        _fail(70, f"internal: {type(error).__name__}: {error}; please report it with: {command}")
    if code is not None and code > 128:  # Typer makes 128 + SIGINT of a KeyboardInterrupt
        from charrnn.cli.signals import end_by

        end_by(code - 128)
    sys.exit(code)


def _debug(argv: Sequence[str]) -> None:
    if "--debug" in argv:
        import traceback

        with contextlib.suppress(OSError):
            sys.stderr.write(escape(traceback.format_exc()))


def _fail(code: int, message: str) -> NoReturn:
    report(message)
    sys.exit(code)
