"""Makes a machine ready: `prepare.py run` for the product, `prepare.py test` for its tests as well,
`prepare.py tools` for the Python packages of both without any other program.

Needs nothing but the standard library. A second call finds everything in place and prints nothing.
Exits 2, with the line to type, when something indispensable is missing and cannot be installed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUNTIME = (ROOT / "requirements.txt",)
DEVELOPMENT = (*RUNTIME, ROOT / "requirements-dev.txt")
LAUNCHER = """#!/bin/sh
exec {python} -P -c 'import sys; sys.argv[0] = "palyra"
from palyra_site.cli.main import main
sys.exit(main())' "$@"
"""


def main(purpose: str) -> None:
    install_system_packages(missing_packages(purpose))
    if not has_venv():
        stop(f"Python's venv module is missing. As root: apt-get install {venv_package()}")
    for package in missing_packages(purpose):
        say(f"{package} is missing and could not be installed: {CONSEQUENCES[package]}")
    make_venv()
    install_python_packages(RUNTIME if purpose == "run" else DEVELOPMENT)
    install_command()


def say(line: str) -> None:
    print(f"palyra: {line}", flush=True)


def stop(line: str) -> None:
    print(f"palyra: {line}", file=sys.stderr)
    raise SystemExit(2)


def has_venv() -> bool:
    """Tell whether this Python can make environments; Debian ships ensurepip apart."""
    return PYTHON.exists() or (find_spec("venv") is not None and find_spec("ensurepip") is not None)


def venv_package() -> str:
    """Return the Debian package for this Python: the default one or that of its own version."""
    default = Path("/usr/bin/python3").resolve() == Path(sys.executable).resolve()
    return "python3-venv" if default else f"python3.{sys.version_info.minor}-venv"


def has_postgres() -> bool:
    return shutil.which("initdb") is not None or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def has_seccomp() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


def has_program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


FOR_RUN: dict[str, Callable[[], bool]] = {"bubblewrap": has_program("bwrap")}
FOR_TEST: dict[str, Callable[[], bool]] = FOR_RUN | {
    "redis-server": has_program("redis-server"),
    "postgresql": has_postgres,
    "chromium": has_program("chromium"),
    "libseccomp2": has_seccomp,
    "openssl": has_program("openssl"),
}
CONSEQUENCES = {
    "bubblewrap": "Tier C is unavailable, its tools are refused.",
    "redis-server": "tests marked redis are skipped.",
    "postgresql": "the suite does not run on PostgreSQL.",
    "chromium": "tests marked browser are skipped.",
    "libseccomp2": "the seccomp filters are not compared with their source.",
    "openssl": "certificates are not compared with OpenSSL.",
}


def missing_packages(purpose: str) -> list[str]:
    """Return the Debian packages whose content this machine lacks, however it got there."""
    needed = {"run": FOR_RUN, "test": FOR_TEST, "tools": {}}[purpose]
    missing = [package for package, present in needed.items() if not present()]
    return missing if has_venv() else [venv_package(), *missing]


def install_system_packages(packages: list[str]) -> None:
    """Install by apt where that is allowed; say what to type where it is not."""
    if not packages:
        return
    line = f"apt-get install {' '.join(packages)}"
    privilege = find_privilege()
    if shutil.which("apt-get") is None or privilege is None:
        say(f"missing system packages and no right to install them. As root: {line}")
        return
    say(f"installing system packages: {' '.join(packages)}")
    apt = [*privilege, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        if subprocess.run([*apt, *arguments], stdin=subprocess.DEVNULL, check=False).returncode:
            say(f"apt-get {arguments[0]} failed. As root: {line}")
            return


def find_privilege() -> list[str] | None:
    """Return the words before a command that make it run as root, or None; ask only on a terminal."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    silent = subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL, check=False)
    if silent.returncode == 0:
        return ["sudo", "-n"]
    if not sys.stdin.isatty():
        return None
    asked = subprocess.run(["sudo", "-v", "-p", "palyra: password for apt-get: "], check=False)
    return ["sudo", "-n"] if asked.returncode == 0 else None


def make_venv() -> None:
    """Make `.venv`, or make it again when its Python is gone or the checkout was moved.

    Only a directory that this function made is ever removed: a link may lead to another checkout's
    environment, and one without our mark is somebody's work.
    """
    mark = VENV / "palyra-venv"
    if PYTHON.exists() and mark.exists() and mark.read_text() == str(VENV):
        return
    if VENV.is_symlink() or (VENV.exists() and not mark.exists()):
        stop(f"{VENV} was not made by `make` here and stays untouched; move it away and try again")
    if VENV.exists():
        shutil.rmtree(VENV)
    say(f"making .venv with Python {sys.version.split()[0]}")
    VENV.mkdir()
    mark.write_text("unfinished")
    if subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False).returncode:
        stop(f"the environment could not be made. As root: apt-get install {venv_package()}")
    mark.write_text(str(VENV))


def install_python_packages(files: tuple[Path, ...]) -> None:
    """Install the pinned packages of `files`; do nothing when exactly these are installed."""
    for file in files:
        stamp = VENV / f"palyra-{file.stem}"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            continue
        run_pip(file)
        stamp.write_text(digest)


def run_pip(file: Path) -> None:
    """Run pip with one line for every tenth package, and all it said if it fails."""
    total = sum("==" in line and not line.startswith(" ") for line in file.read_text().splitlines())
    say(f"installing {file.name}, up to {total} packages")
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "--require-hashes", "-r", str(file)]
    said, seen = [], 0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        for line in pip.stdout or ():
            said.append(line)
            if line.startswith(("Collecting ", "Processing ", "Requirement already satisfied: ")):
                seen += 1
                if seen % 10 == 0:
                    say(f"  {seen} of {total}")
            elif line.startswith("Installing collected packages"):
                say("  writing them to .venv")
    if pip.returncode:
        sys.stderr.writelines(said[-25:])
        stop(f"pip could not install {file.name}")


def install_command() -> None:
    """Put `palyra` into `.venv/bin`.

    An own launcher instead of an editable install: it needs no build backend and works in paths that
    hold blanks.
    """
    library = next((VENV / "lib").glob("python3.*/site-packages"))
    write_once(library / "palyra.pth", f"{ROOT}\n")
    write_once(VENV / "bin" / "palyra", LAUNCHER.format(python=shlex.quote(str(PYTHON))))
    (VENV / "bin" / "palyra").chmod(0o755)


def write_once(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
