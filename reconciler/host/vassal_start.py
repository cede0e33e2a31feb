"""The program that the Emperor of the system profile starts as root in place of uWSGI, once for each vassal.

It makes the vassal's control group and its view of the host, gives up root's rights, and ends in the wrapper that
starts uWSGI: every step replaces the one before, so that no process is added. A reload of uWSGI begins at the
wrapper, and stays in the same group and the same view.
"""

from __future__ import annotations

from reconciler.host.allowance import Allowance
from reconciler.host.system_layout import SystemLayout

EMPERORS_GROUP = "emperor"
"""The group below the unit's in which the Emperor itself is: a group with limits for others may have no processes."""

# The Emperor calls it with "--ini NAME.ini", in the folder of the vassals, which is root's.
_PROGRAM = """#!/bin/sh
# reconciler vassal start, format 1
memory={memory} processes={processes}
for configuration do :; done
vassal=${{configuration%.ini}} app=${{configuration%%.*}}

# whose file it is, of the file itself, not of what a link leads to
owner=$(stat --format=%u -- "$configuration") group=$(stat --format=%g -- "$configuration")
if [ ! -f "$configuration" ] || [ -L "$configuration" ] || [ "${{owner:-0}}" = 0 ] || [ "${{group:-0}}" = 0 ]; then
  echo "$configuration belongs to root or is no file: it is not started" >&2
  exit 1
fi

# enter TREE FILE=VALUE...: into a group of its own beside the Emperor's, in one tree of groups
enter() {{
  for old in "$1"/vassal-*; do
    # groups of vassals that have ended; what has processes stays
    [ -d "$old" ] && rmdir "$old"
  done
  folder=$1/vassal-$vassal
  shift
  for try in 1 2 3; do
    mkdir -p "$folder"
    for limit do
      [ -e "$folder/${{limit%%=*}}" ] && echo "${{limit#*=}}" > "$folder/${{limit%%=*}}"
    done
    # another vassal that starts may have taken it for an old one
    echo $$ > "$folder/cgroup.procs" && break
  done
}}
while IFS=: read -r _ kind place; do
  case $place in */reconciler-emperor.service/{emperor}) ;; *) continue ;; esac
  case $kind in
    "") tree=/sys/fs/cgroup ;;
    memory|pids) tree=/sys/fs/cgroup/$kind ;;
    *) continue ;;
  esac
  unit=$tree${{place%/*}}
  [ -d "$unit" ] || continue
  enter "$unit" "memory.max=$memory" "memory.swap.max=$memory" "memory.limit_in_bytes=$memory" "pids.max=$processes"
done 2>/dev/null < /proc/self/cgroup

set -- setpriv "--reuid=$owner" "--regid=$group" --init-groups --no-new-privs --inh-caps=-all --bounding-set=-all \\
  {wrapper} --ini "$configuration"
temporary={temporary}/$app
case $PWD/ in
  # they would be hidden, as in a trial below /tmp
  /tmp/*|/var/tmp/*) ;;
  *)
    mkdir -p -m 0700 "$temporary"
    chown --no-dereference "$owner:$group" "$temporary"
    # a host that lets nobody do this, such as some containers, runs the app with the Emperor's /tmp
    if unshare --mount true 2>/dev/null; then
      mount='mount --bind "$0" /tmp; mount --bind "$0" /var/tmp; exec "$@"'
      set -- unshare --mount /bin/sh -c "$mount" "$temporary" "$@"
    fi
    ;;
esac
exec "$@"
"""


def first_start() -> str:
    """The program for an Emperor that starts before an agent has said what the limits are: there are none."""
    return render_start(SystemLayout.at(), Allowance(memory_bytes=2**62, processes=4_000_000))


def render_start(layout: SystemLayout, allowance: Allowance) -> str:
    """The program's text: limits in bytes and in processes, and where the wrapper and the temporary folders are."""
    return _PROGRAM.format(
        memory=allowance.memory_bytes,
        processes=allowance.processes,
        emperor=EMPERORS_GROUP,
        temporary=layout.temporary,
        wrapper=layout.wrapper,
    )
