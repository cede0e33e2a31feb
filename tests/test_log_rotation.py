"""Proves that logs are bounded while their writers keep them open, and that a hook outlives a log that fails."""

from __future__ import annotations

import os
from pathlib import Path

from command_line import reconciler
from reconciler.cli.log_reading import last_lines
from reconciler.host.hook_log import HOOK_LOG_BYTES, HookLog
from reconciler.host.log_rotation import KEPT_TIMES, LOG_BYTES, rotate
from world import World, manifest, of, wsgi_app

PRINTING = '''"""Prints a line for every request."""


def app(environ, start_response):
    print("asked for", environ["PATH_INFO"], flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"printed"]
'''


def test_a_large_log_is_put_aside_whole_and_its_writer_goes_on_at_the_beginning(tmp_path: Path) -> None:
    large, small, other = tmp_path / "a.log", tmp_path / "b.log", tmp_path / "c.log.1"
    (tmp_path / "a.log.1").write_text("older still")
    other.write_text("x" * 500)
    small.write_text("y" * 99)
    (tmp_path / "link.log").symlink_to(other)
    with large.open("a") as writer:
        writer.write("z" * 100)
        writer.flush()
        large.chmod(0o640)
        assert rotate(tmp_path, 100) == [large]
        assert large.stat().st_size == 0
        writer.write("next\n")
    assert large.read_text() == "next\n"
    aside = tmp_path / "a.log.1"
    assert (aside.read_text(), aside.stat().st_mode & 0o777) == ("z" * 100, 0o640)
    assert (small.read_text(), other.read_text()) == ("y" * 99, "x" * 500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "b.log", "c.log.1", "link.log"]
    assert last_lines(large, 2)[0] == "z" * 100 + "next\n"
    assert last_lines(large, 1)[0] == "next\n"


def test_only_the_end_of_a_log_without_bounds_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("the end")
    os.truncate(log, 10**12)
    with log.open("a") as writer:
        writer.write("and the very end")
    assert rotate(tmp_path, 100) == [log]
    assert log.stat().st_size == 0
    aside = (tmp_path / "a.log.1").read_bytes()
    assert len(aside) == KEPT_TIMES * 100
    assert aside.endswith(b"\0and the very end")


def test_a_pass_bounds_the_logs_of_an_app_that_serves(world: World) -> None:
    world.add_app("blog", "silent")
    world.commit({"apps/blog/wsgi.py": PRINTING})
    assert of(world.once(), "blog").error is None
    logs = world.root / "logs"
    grown = [logs / "blog.log", logs / "blog.access.log", logs / "emperor.log"]
    for log in grown:
        os.truncate(log, LOG_BYTES)
    assert not world.once().failed
    for log in grown:
        assert log.stat().st_size < LOG_BYTES
        assert Path(f"{log}.1").stat().st_size >= LOG_BYTES
    assert world.text("blog.example.com", "/after") == "printed"
    assert (logs / "blog.log").read_text() == "asked for /after\n"
    assert '"GET /after HTTP/1.1" 200' in (logs / "blog.access.log").read_text()


def test_hooks_begin_a_new_log_when_theirs_has_grown(world: World) -> None:
    world.add_app("blog", "hello")
    world.commit({"manifests/blog.yaml": manifest("blog", hooks={"beforeSwitch": ["echo first"]})})
    assert of(world.once(), "blog").error is None
    log = world.root / "logs" / "blog.hooks.log"
    os.truncate(log, HOOK_LOG_BYTES)
    hooks = {"beforeSwitch": ['echo "static: $RECONCILER_STATIC"']}
    world.commit({"manifests/blog.yaml": manifest("blog", hooks=hooks), "apps/blog/wsgi.py": wsgi_app("again")})
    assert of(world.once(), "blog").error is None
    assert f"static: {world.root}/store/static/" in log.read_text()
    assert log.read_text().count("beforeSwitch hook") == 2
    assert Path(f"{log}.1").stat().st_size == HOOK_LOG_BYTES
    shown = reconciler("-c", str(world.agent_file), "logs", "--hooks", "-n", "1", "blog")
    assert "status 0 after" in shown.out


def test_a_log_that_cannot_be_written_ends_no_hook(tmp_path: Path) -> None:
    with HookLog(Path("/dev/full"), "release 1, beforeSwitch hook `migrate`") as log:
        log.write(b"a line\n")
        log.ended(0, 1.0)
    whole = tmp_path / "hooks.log"
    with HookLog(whole, "title") as log:
        log.write(b"a line")
        log.ended(0, 1.0)
    assert whole.read_text().endswith("title: status 0 after 1.000 s\n")
