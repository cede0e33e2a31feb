"""Proves how commands of apps are confined: by limits of their processes, or in a unit that systemd is asked for."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from reconciler.host import transient_unit
from reconciler.host.allowance import Allowance
from reconciler.host.confinement import Confinement, run_confined
from reconciler.host.processes import Account, Result, run
from reconciler.host.system_layout import SystemLayout
from reconciler.host.vassal_start import render_start
from reconciler.model.configuration import Limits
from reconciler.model.configuration_reading import read_configuration
from reconciler.model.errors import CommandFailed, CommandTimedOut, ConfigurationError, HostError

MIB = 1024 * 1024
SECRET = "it's a $secret\n${HOME}\r\twith lines "
SYSTEMD_RUN = f"""#!{sys.executable}
import os, sys
at = sys.argv.index("--")
open(os.environ["NOTES"], "a").write("\\n".join(sys.argv[1:at]) + "\\n")
if os.path.exists(os.environ["NOTES"] + ".refuse"):
    sys.exit("Failed to connect to bus: No such file or directory")
# what systemd makes of an argument
command = [word.replace("$$", "$") for word in sys.argv[at + 1:]]
os.execvp(command[0], command)
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$NOTES"
case "$*" in *LoadState*) [ -e "$NOTES.refuse" ] && echo not-found || echo loaded ;; esac
"""


def confined(command: str, account: Account | None = None, *, memory: int = 64, timeout: float = 20.0) -> Result:
    return run_confined(
        ["/bin/sh", "-c", command],
        Confinement(account, Allowance(memory * MIB, 32), (Path("/srv/work"),), (Path("/srv/hidden"),)),
        timeout=timeout,
        cwd=Path("/"),
        env={"PATH": os.defpath, "WORD": SECRET},
        what="the hook `x`",
    )


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose systemd runs commands as they are, and notes what it was asked for."""
    for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setattr(transient_unit, "SYSTEMD", tmp_path)
    transient_unit._swept.clear()
    return tmp_path / "notes"


def own_account() -> Account:
    entry = pwd.getpwuid(os.geteuid())
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, (entry.pw_gid,), Path(entry.pw_dir))


def test_without_an_account_the_kernel_refuses_memory_to_each_process() -> None:
    with pytest.raises(CommandFailed) as failed:
        confined(f"{sys.executable} -c 'x = bytearray(200 << 20)'")
    assert "MemoryError" in failed.value.message
    assert "it may have 64 MiB of memory and 32 processes: raise limits.memory" in (failed.value.hint or "")


def test_a_unit_gets_its_variables_unseen_and_its_words_untouched(notes: Path) -> None:
    result = confined('printf %s "$WORD"; echo $((1 + 1)) ${WORD:+set} $$; id -u; cat', own_account())
    assert result.text.startswith(f"{SECRET}2 set ")
    assert result.text.splitlines()[-1] == str(os.geteuid())
    asked = notes.read_text()
    assert "secret" not in asked
    for line in ("--pipe", "--property=NoNewPrivileges=yes", "--property=PrivateTmp=yes", "--property=TasksMax=32",
                 "--property=ProtectSystem=strict", f"--property=MemoryMax={64 * MIB}",
                 "--property=ReadWritePaths=/srv/work", "--property=InaccessiblePaths=-/srv/hidden"):  # fmt: skip
        assert line in asked.splitlines(), line
    # what an agent that was killed has left ends before anything new begins, and once
    assert asked.startswith("--no-ask-password stop reconciler-commands.slice\n")
    confined("true", own_account())
    assert notes.read_text().count("stop reconciler-commands.slice") == 1


def test_a_failure_names_the_limit_that_the_command_came_to(notes: Path) -> None:
    with pytest.raises(CommandFailed) as failed:
        confined(f"echo lost; echo '{transient_unit.MARK} memory' >&2; exit 137", own_account())
    assert failed.value.message == (
        "the hook `x` ended with status 137, after it was killed for using more than 64 MiB (limits.memory)"
    )
    assert transient_unit.MARK not in failed.value.tail
    assert "reset-failed reconciler-command-" in notes.read_text()
    with pytest.raises(CommandFailed, match="status 3") as plain:
        confined("exit 3", own_account())
    assert "limit" not in plain.value.message


def test_what_takes_too_long_is_ended_with_its_unit(notes: Path) -> None:
    with pytest.raises(CommandTimedOut):
        confined("sleep 30", own_account(), timeout=0.5)
    assert "--no-ask-password stop reconciler-command-" in notes.read_text()


def test_a_systemd_that_does_not_answer_is_no_fault_of_the_command(notes: Path) -> None:
    notes.with_name("notes.refuse").touch()
    with pytest.raises(HostError, match="systemd does not run the hook `x`: Failed to connect to bus"):
        confined("true", own_account())


def test_the_emperors_program_starts_nothing_that_belongs_to_root(tmp_path: Path) -> None:
    program = tmp_path / "start"
    program.write_text(render_start(SystemLayout.at(tmp_path), Allowance.of(Limits())))
    (tmp_path / "blog.1.ini").write_text("")
    (tmp_path / "link.1.ini").symlink_to("blog.1.ini")
    for name in ("link.1.ini", "gone.1.ini", *(() if os.geteuid() else ("blog.1.ini",))):
        with pytest.raises(CommandFailed, match="belongs to root or is no file"):
            run(["/bin/sh", str(program), "--ini", name], timeout=10, cwd=tmp_path)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [("memory: 1m", "the least is 32m"), ("memory: lots", "is not a size"), ("processes: 3", "limits.processes")],
)
def test_limits_that_nothing_could_run_under_are_refused(limits: str, sentence: str) -> None:
    text = f"repository: {{url: https://git.example.com/c.git}}\nlimits: {{{limits}}}\n"
    with pytest.raises(ConfigurationError, match=sentence):
        read_configuration(text.encode(), file="agent.yaml")


def test_limits_that_nobody_sets_come_from_the_host() -> None:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert Allowance.of(Limits()) == Allowance(int(installed * 0.75), 512)
    assert Allowance.of(Limits(memory="2g", processes=99)) == Allowance(2048 * MIB, 99)
