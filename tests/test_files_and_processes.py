"""Proves that files appear only whole, and that programs end with their group, their limit and a typed failure."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from reconciler.host import files
from reconciler.host.files import (
    building,
    make_folder,
    publish_folder,
    remove_tree,
    remove_visible,
    replace_link,
    tail_of,
    write_whole,
)
from reconciler.host.interruption import TimeIsUp, within
from reconciler.host.processes import Limits, run
from reconciler.model.errors import CommandFailed, CommandTimedOut, HostError


def test_a_file_is_written_once_and_then_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert write_whole(file, "text\n", mode=0o640)
    before = file.stat()
    assert not write_whole(file, "text\n", mode=0o640)
    assert file.stat().st_ino == before.st_ino
    assert write_whole(file, "text\n", mode=0o600)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    link = tmp_path / "f"
    link.symlink_to(outside)
    write_whole(link, "new")
    assert outside.read_text() == "precious"
    assert not link.is_symlink()


def test_a_folder_that_fails_half_way_is_never_seen(tmp_path: Path) -> None:
    final = tmp_path / "store" / "out"
    with pytest.raises(RuntimeError), building(final) as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert list((tmp_path / "store").iterdir()) == []
    with building(final) as folder:
        (folder / "whole").write_text("whole")
    assert (final / "whole").read_text() == "whole"


def test_an_equal_output_that_is_there_already_wins(tmp_path: Path) -> None:
    first, second, final = tmp_path / "a", tmp_path / "b", tmp_path / "out"
    for folder in (first, second):
        folder.mkdir()
        (folder / "x").write_text(folder.name)
    publish_folder(first, final)
    publish_folder(second, final)
    assert (final / "x").read_text() == "a"
    assert not second.exists()


def test_replacing_a_link_is_one_step(tmp_path: Path) -> None:
    link = tmp_path / "public"
    assert replace_link(link, "one")
    assert not replace_link(link, "one")
    assert replace_link(link, "two")
    assert str(link.readlink()) == "two"


def test_removing_a_tree_follows_no_link_and_minds_no_mode(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "closed").mkdir(parents=True)
    (tree / "closed" / "f").write_text("f")
    (tree / "link").symlink_to(outside)
    (tree / "closed").chmod(0o500)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_the_name_of_what_is_removed_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").mkdir()
    seen: list[list[str]] = []
    monkeypatch.setattr(files, "remove_tree", lambda _: seen.append([path.name for path in tmp_path.iterdir()]))
    remove_visible(tmp_path / "output")
    assert [name.startswith(".tmp-") for name in seen[0]] == [True]


def test_new_folders_are_flushed_from_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(files, "flush_folder", flushed.append)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path, tmp_path / "a"]


def test_the_tail_of_a_log_can_start_where_it_was_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write("new\n")
    assert tail_of(log, since=since) == "new\n"
    assert tail_of(tmp_path / "absent") == ""


def test_a_failure_carries_command_status_and_tail() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "echo out; echo why >&2; exit 3"], timeout=10)
    assert caught.value.status == 3
    assert "why" in str(caught.value)
    assert "out" in caught.value.tail


def test_a_program_and_its_children_end_at_the_limit(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(CommandTimedOut, match="after 0.5 s"):
        run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout=0.5)
    assert time.monotonic() - started < 10
    child = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if "zombie" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text()


def test_a_program_that_closes_its_streams_is_ended_at_its_limit_all_the_same() -> None:
    silent = ["sh", "-c", "exec > /dev/null 2>&1; sleep 60"]
    started = time.monotonic()
    with pytest.raises(CommandTimedOut, match="after 0.5 s"):
        run(silent, timeout=0.5)
    with pytest.raises(TimeIsUp), within(0.5):
        run(silent, timeout=60)
    assert time.monotonic() - started < 10


def test_a_child_that_keeps_the_pipe_open_does_not_hold_the_pass() -> None:
    started = time.monotonic()
    assert run(["sh", "-c", "sleep 60 & echo done"], timeout=30).text == "done\n"
    assert time.monotonic() - started < 10


def test_a_daemon_that_goes_on_printing_does_not_hold_the_pass_either() -> None:
    heard = bytearray()
    # it ends by itself, once nobody reads what it prints
    chatter = "setsid sh -c 'while echo on; do sleep 0.01; done' & echo begun"
    started = time.monotonic()
    result = run(["/bin/sh", "-c", chatter], timeout=30, on_output=heard.extend)
    assert time.monotonic() - started < 10
    assert heard.startswith(b"begun\n") or b"\nbegun\n" in heard
    assert result.stdout == b""


def test_a_missing_program_says_what_to_do() -> None:
    with pytest.raises(HostError, match="no-such-program is not on this host"):
        run(["no-such-program"], timeout=5)


def test_lines_are_heard_while_the_program_runs_and_input_is_fed() -> None:
    heard: list[str] = []
    result = run(["sh", "-c", "read x; echo got $x; echo two"], timeout=10, stdin=b"one\n", on_line=heard.append)
    assert heard == ["got one", "two"]
    assert result.text == "got one\ntwo\n"


def test_limits_hold(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed):
        run(
            [
                "sh",
                "-c",
                f"sleep 0.3; head -c 100000 /dev/zero > {tmp_path}/large",
            ],
            timeout=10,
            limits=Limits(file_bytes=1000),
        )


def test_a_group_is_ended_while_its_number_is_still_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was reaped has given its number away, and the group of another one would be killed."""
    states = []

    def killpg(group: int, number: int) -> None:
        states.append(Path(f"/proc/{group}/stat").read_text().rpartition(")")[2].split()[0])

    monkeypatch.setattr(os, "killpg", killpg)
    for command in ("echo done", "setsid sleep 2 & echo done"):
        assert run(["/bin/sh", "-c", command], timeout=20).text == "done\n"
    assert states == ["Z", "Z"]
