"""After a loss of power at any point, with nothing left but what was flushed, the next pass converges and serves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import canary
from campaign import Host, differences, new_host, until
from power import LEAST, NAMES, images_of, restore
from scenarios import Step, blog, committing
from world import manifest, wsgi_app

IMAGES = 3
"""How many images of each step a short run tries, evenly spread; a long one tries all."""

STEPS = (
    Step("first deploy", committing(blog("one"))),
    Step("one line", committing(blog("two"))),
    Step("site", committing(blog("two", nginx={"clientMaxBodySize": "2m"}))),
    Step("prune", committing(dict.fromkeys(blog()))),
)


def spread(items: list[dict[str, object]], number: int) -> list[dict[str, object]]:
    """``number`` of the items, the first and the last among them."""
    if len(items) <= number:
        return items
    return [items[round(place * (len(items) - 1) / (number - 1))] for place in range(number)]


@pytest.mark.parametrize("extreme", [LEAST, NAMES])
def test_a_disk_that_lost_power_is_brought_to_where_an_undisturbed_pass_ends(
    extreme: str, long: bool, share: float, record_property: pytest.RecordProperty
) -> None:
    wrong: list[str] = []
    tried = 0
    with new_host() as host:
        _add_neighbour(host)
        for step in STEPS:
            images = _recorded(host, step)
            wrong += [f"{step.name}: {line}" for line in (images / "violations").read_text().splitlines()]
            expected = host.state()
            found = images_of(images)
            for image in found if long else spread(found, max(2, round(IMAGES * share))):
                tried += 1
                where = f"{step.name}, after {image['event']}, {extreme}"
                wrong += [f"{where}: {line}" for line in _after(host, image, images, extreme, expected)]
            shutil.rmtree(images)
    record_property("campaign", f"power loss, {extreme}: {tried} disks")
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def _add_neighbour(host: Host) -> None:
    uwsgi = {"processes": 1, "threads": 2}
    # its secret too: the key of the hashes by which releases differ is older than what is tried
    other = manifest("other", uwsgi=uwsgi, secrets=canary.REFERENCES)
    files = {"apps/other/wsgi.py": wsgi_app("other"), "manifests/other.yaml": other}
    host.world.commit(files | canary.provide(host.world.home))
    host.converge()


def _recorded(host: Host, step: Step) -> Path:
    """Carry a step out, keeping an image of the disk after everything that was flushed."""
    host.forget_history()
    step.change(host)
    images = host.world.home / "images"
    done = host.once(module="power", root=str(host.root), images=str(images))
    assert done.status == 0, done.output
    return images


def _after(
    host: Host, image: dict[str, object], images: Path, extreme: str, expected: dict[str, object]
) -> list[str]:
    """What is wrong after a pass over a disk that lost power; nothing ran any more on it."""
    host.lose_power()
    shutil.rmtree(host.root)
    restore(image, images / "objects", host.root, extreme)
    done = host.once()
    if done.status != 0:
        return [f"the pass did not converge: {done.output}"]
    left = differences(expected, host.state())
    # the neighbour's processes start by themselves, beside the pass
    until(lambda: host.world.get("/", "other.example.com").status_code == 200, "an answer of the neighbour")
    if host.world.text("other.example.com") != "other":
        left.append("the neighbour does not serve")
    rest = host.once()
    if set(rest.outcomes.values()) != {"unchanged"}:
        left.append(f"a further pass found work: {json.dumps(rest.result)[:2000]}")
    return left
