"""The Python that is forked. Run as a script by interpreter.py.

template.py DESCRIPTOR MODULE …   imports the modules; from then on each request that comes by the socket is one run.

A request is its length, with descriptors of open files (the run's output; what ends the run when it closes; where its
guard tells its process id and how it ended; what the run inherits), then JSON: `words` (the program and its arguments),
`folder`, `environment`, `rules` (a file for confine.py; '' for none) and `descriptors` (by which numbers the run knows
what it inherits). For each request this process forks a guard, and that forks the run, which confines itself and then
becomes the program's own process: it has what was imported, and nothing of another run's. Ends when its socket closes.

This process is not confined, runs nobody's program, and never touches a GPU. Standard library only, but for the modules
that it is told to import.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NoReturn

PROJECT = str(Path(__file__).resolve().parents[3])
sys.path.insert(0, PROJECT)
from search.system import confine, guard  # noqa: E402

sys.path.remove(PROJECT)

LENGTH = struct.Struct("!I")  # of a request
MOST_DESCRIPTORS = 16
LOOK_SECONDS = 0.1
ADDED = ("LC_CTYPE",)  # variables that Python gives itself as it starts
ARGUMENTS_BEGIN, ARGUMENTS_END = 45, 46  # in /proc/self/stat, counted from behind the command's name; proc(5)


class Run(BaseException):
    """Raised in the new process of a run, so that nothing of this one is left on its stack. words: of its command."""

    def __init__(self, words: list[str]) -> None:
        super().__init__()
        self.words = words


def fault_of(modules: list[str]) -> str:
    """Imports the modules, those that are there; why this process cannot be forked afterwards, '' if it can."""
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(confine.GPU_DEVICES):
                return f"importing {', '.join(modules)} opens a GPU"
    gc.collect()
    gc.freeze()  # what is there is shared by all runs, and need not be looked through again
    return ""


def serve(control: socket.socket) -> None:
    """Answers requests until the socket closes. Raises Run, in the process of each run alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards tell by themselves how they end
    while True:
        head, descriptors, _, _ = socket.recv_fds(control, LENGTH.size, MOST_DESCRIPTORS)
        if len(head) < LENGTH.size:
            return
        request = json.loads(_exactly(control, LENGTH.unpack(head)[0]))
        if os.fork() == 0:
            os.close(control.detach())
            stand_by(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _exactly(control: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        gained = control.recv(length - len(found))
        if not gained:
            raise EOFError
        found += gained
    return found


def stand_by(request: dict[str, Any], descriptors: list[int]) -> None:
    """Becomes the guard of a run, and does not return. Raises Run in the run's process."""
    output, life, told, *inherited = descriptors
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor, number in ((life, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.close(output)
    os.close(life)
    name_process([sys.executable, guard.__file__, sys.executable, *request["words"]])
    os.write(told, b"%d\n" % os.getpid())

    def start() -> int:
        child = os.fork()
        if child == 0:
            os.close(told)
            try:
                begin(request, inherited)
            except OSError as error:
                print(f"it could not begin: {error}", file=sys.stderr)
                os._exit(1)
        return child

    code = guard.stand_by(start)
    os.write(told, b"%d\n" % code)
    os._exit(code)


def begin(request: dict[str, Any], inherited: list[int]) -> None:
    """Makes this new process that of the run, confined. Raises Run."""
    guard.prctl(guard.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)
    for number in guard.ENDING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    only_these(inherited, request["descriptors"])
    name_process([sys.executable, *request["words"]])
    os.chdir(request["folder"])
    added = {name: os.environ[name] for name in ADDED if name in os.environ}
    os.environ.clear()
    os.environ.update(added | request["environment"])
    forget()
    if request["rules"]:
        confine.confine(request["rules"])
    raise Run(request["words"])


def forget() -> None:
    """Makes anew what libraries have looked up or drawn as they were imported, and what would differ in a program that
    imported them itself."""
    tempfile.tempdir = None
    if "multiprocessing.process" in sys.modules:
        vars(sys.modules["multiprocessing.process"])["ORIGINAL_DIR"] = os.getcwd()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # random does so by itself; else all runs would draw the same numbers


def only_these(descriptors: list[int], numbers: list[int]) -> None:
    """Gives open files these numbers, with nothing for standard input, and closes all others but the output."""
    beyond = max([2, *descriptors, *numbers]) + 1
    for place, descriptor in enumerate(descriptors):  # out of the way of all numbers first
        os.dup2(descriptor, beyond + place)
    for place, number in enumerate(numbers):
        os.dup2(beyond + place, number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in numbers:
            with contextlib.suppress(OSError):  # the one by which the folder was read
                os.close(int(name))


def name_process(words: list[str]) -> None:
    """Shows another command as this process's, where there is room for it, to whoever looks at processes."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as stream:
        fields = stream.read().rpartition(")")[2].split()
    start, end = int(fields[ARGUMENTS_BEGIN]), int(fields[ARGUMENTS_END])
    shown = b"\0".join(os.fsencode(word) for word in words)[: end - start - 1]
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def run(words: list[str]) -> int:
    """Runs a program as `python PROGRAM …` does, but for the end; its exit code."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "search"]:
        del sys.modules[name]  # the program may have its own
    sys.argv[:] = words
    sys.path.insert(0, os.path.dirname(os.path.realpath(words[0])))
    path = os.path.abspath(words[0])
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=path, __builtins__=builtins, __loader__=SourceFileLoader("__main__", path), __cached__=None
    )
    sys.modules["__main__"] = main
    try:
        with open(path, "rb") as stream:
            program = compile(stream.read(), path, "exec", dont_inherit=True)
        exec(program, main.__dict__)
    except SystemExit as ended:
        return exit_code_of(ended)
    except (Exception, KeyboardInterrupt) as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # this function is not the program's
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        return 1
    return 0


def exit_code_of(ended: SystemExit) -> int:
    """What Python makes of sys.exit()."""
    if ended.code is None or isinstance(ended.code, int):
        return int(ended.code or 0)
    print(ended.code, file=sys.stderr)
    return 1


def leave(code: int, imported: set[str]) -> NoReturn:
    """Ends this process as Python does, but for what was imported ahead, which is left as it is: to take that apart
    would take a third of a second.

    code: its exit code. imported: the modules that were imported ahead.
    """
    vars(threading)["_shutdown"]()  # waits for the program's threads
    atexit._run_exitfuncs()
    vars(sys).update(last_value=None, last_traceback=None)  # they would keep what the program made
    for one in gc.get_objects():
        if issubclass(type(one), io.IOBase):  # the collector may close a file before what is written is in it
            with contextlib.suppress(OSError, ValueError):
                one.flush()
    sys.modules["__main__"] = types.ModuleType("__main__")
    for name in sys.modules.keys() - imported:
        del sys.modules[name]
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, nobody reads it, or it is closed
            continue
    os._exit(code & 0xFF)


@contextlib.contextmanager
def ended_with(control: socket.socket) -> Iterator[None]:
    """Meanwhile this process ends as soon as the far end of a socket closes, whatever it does."""
    over, watched = threading.Event(), select.poll()
    watched.register(control, select.POLLHUP)

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if watched.poll(0):
                os._exit(0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()  # a process that is forked must have no other thread


def main(descriptor: int, modules: list[str]) -> None:
    control = socket.socket(fileno=descriptor)
    for number in guard.ENDING:
        signal.signal(number, signal.SIG_IGN)  # it ends with the one that uses it
    try:
        with ended_with(control):
            fault = fault_of(modules)
        control.sendall(json.dumps({"fault": fault}).encode() + b"\n")
        if not fault:
            serve(control)
    except (EOFError, OSError):  # nobody asks any more
        return


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), sys.argv[2:-1])  # the last one makes room for name_process
    except Run as begun:
        command = begun.words
    else:
        os._exit(0)
    known = set(sys.modules)
    leave(run(command), known)
