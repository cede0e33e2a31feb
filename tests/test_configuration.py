"""Proves that agent.yaml becomes a configuration, or one error that lists every mistake with its place."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.configuration import Configuration, Profile
from reconciler.model.configuration_reading import configuration_schema, read_configuration
from reconciler.model.errors import ConfigurationError

FULL = """\
profile: embedded
root: ../state
repository:
  url: https://git.example.com/deploy.git
  branch: production
  path: apps
  interval: 1500ms
  fastForwardOnly: false
  allowedSigners: null
host: {name: web-1, labels: {role: web}}
http: {address: "::1", port: 8081}
drift: {interval: 1h}
prune: {enabled: false, limit: 1}
"""


def read(text: str) -> Configuration:
    return read_configuration(text.encode(), file="agent.yaml")


def mistakes(text: bytes) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(text, file="agent.yaml")
    assert caught.value.hint
    assert caught.value.exit_status == 2
    return caught.value.message.split("\n")


def test_only_the_repository_is_required() -> None:
    configuration = read("repository: {url: ./deploy}")
    assert (configuration.profile, configuration.root) == (Profile.EMBEDDED, "./var")
    repository = configuration.repository
    assert (repository.url, repository.branch, repository.path) == ("./deploy", "main", "manifests")
    assert (repository.interval, repository.fast_forward_only) == (timedelta(seconds=60), True)
    assert repository.allowed_signers is None
    assert (configuration.host.name, configuration.host.labels) == (None, {})
    assert (configuration.http.address, configuration.http.port) == ("127.0.0.1", 8080)
    assert configuration.drift.interval == timedelta(minutes=5)
    assert (configuration.prune.enabled, configuration.prune.limit) == (True, 0.5)


def test_every_key_of_the_design_is_read() -> None:
    configuration = read(FULL)
    assert (configuration.root, configuration.repository.branch) == ("../state", "production")
    assert configuration.repository.interval == timedelta(milliseconds=1500)
    assert not configuration.repository.fast_forward_only
    assert (configuration.host.name, configuration.host.labels) == ("web-1", {"role": "web"})
    assert (configuration.http.address, configuration.http.port) == ("::1", 8081)
    assert (configuration.prune.enabled, configuration.prune.limit) == (False, 1.0)


@pytest.mark.parametrize(
    "url", [".", "../deploy", "deploy", "/srv/deploy.git", "file:///srv/x", "git@example.com:x/y"]
)
def test_repositories_that_are_allowed(url: str) -> None:
    assert read(f"repository: {{url: '{url}'}}").repository.url == url


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["agent.yaml: expected one configuration, and it is empty"]),
        ("# nothing", ["agent.yaml: expected one configuration, and it is empty"]),
        (
            "repository: {url: .}\n---\nroot: x\n",
            ["agent.yaml:3: expected one configuration, and it has more than one"],
        ),
        ("- a", ["agent.yaml:1: expected a mapping of keys, found a list"]),
        ("{}", ["agent.yaml:1: repository: this key is required"]),
        ("repository: {}", ["agent.yaml:1: repository.url: this key is required"]),
        ("a: b: c", ["agent.yaml:1: this is not YAML: "]),
        ("repository: {url: .}\nrepository: {url: .}", ["agent.yaml:2: repository: the key is given twice"]),
        ("repository: {url: .}\nport: 3", ["agent.yaml:2: port: unknown key here; did you mean http.port?"]),
        ("repository: {url: .}\nhttp: {prot: 3}", ["agent.yaml:2: http.prot: unknown key; did you mean port?"]),
        ("repository: {url: .}\nprofile: system\nhttp: {}", ["agent.yaml:3: http: this belongs to the embedded"]),
        ("repository: {url: .}\nprofile: big", ["agent.yaml:2: profile: expected embedded or system, found 'big'"]),
        (
            "repository: {url: ., allowedSigners: f/}",
            ["agent.yaml:1: repository.allowedSigners: 'f/' is not the path of a file"],
        ),
        (
            "repository: {url: ., interval: 500ms}",
            ["agent.yaml:1: repository.interval: the interval must be at least 1s"],
        ),
        ("repository: {url: ., interval: 60}", ["agent.yaml:1: repository.interval: 60 is not a duration"]),
        ("repository: {url: ., branch: --x}", ["agent.yaml:1: repository.branch: '--x' is not a branch"]),
        ("repository: {url: 'ext::x'}", ["agent.yaml:1: repository.url: 'ext::x': only https, ssh and file"]),
        ("repository: {url: 'http://e.example.com/x'}", ["agent.yaml:1: repository.url: "]),
        ("repository: {url: '--upload-pack=x'}", ["agent.yaml:1: repository.url: "]),
        ("repository: {url: ''}", ["agent.yaml:1: repository.url: '' is not a repository address"]),
        ("repository: {url: .}\nprune: {limit: 1.5}", ["agent.yaml:2: prune.limit: expected at most 1, found 1.5"]),
        ("repository: {url: .}\nprune: {limit: -1}", ["agent.yaml:2: prune.limit: expected at least 0, found -1"]),
        ("repository: {url: .}\nprune: {limit: .nan}", ["agent.yaml:2: prune.limit: "]),
        (
            "repository: {url: .}\nprune: {limit: yes}",
            ["agent.yaml:2: prune.limit: expected a number, found the text"],
        ),
        ("repository: {url: .}\nhttp: {address: here}", ["agent.yaml:2: http.address: 'here' is not an IP address"]),
        ("repository: {url: .}\nhttp: {port: 0}", ["agent.yaml:2: http.port: expected at least 1, found 0"]),
        ("repository: {url: .}\nroot: ''", ["agent.yaml:2: root: the root folder must not be empty"]),
        (
            "profile: system\nroot: 3\nrepository:\n  branch: a b\n  allowedSigners: f/\nhost: {labels: {a: 1}}\n",
            [
                "agent.yaml:2: root: this belongs to the embedded profile",
                "agent.yaml:2: root: expected text, found the number 3",
                "agent.yaml:3: repository.url: this key is required",
                "agent.yaml:4: repository.branch: ",
                "agent.yaml:5: repository.allowedSigners: ",
                "agent.yaml:6: host.labels.a: expected text, found the number 1",
            ],
        ),
    ],
)
def test_every_mistake_has_its_own_line(text: str, told: list[str]) -> None:
    found = mistakes(text.encode())
    assert len(found) == len(told)
    for line, beginning in zip(found, told, strict=True):
        assert line.startswith(beginning)


def test_the_schema_describes_every_key() -> None:
    schema = configuration_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["repository"]
    assert schema["$defs"]["Drift"]["properties"]["interval"]["default"] == "5m"
    for definition in (schema, *(d for d in schema["$defs"].values() if d["type"] == "object")):
        assert definition["additionalProperties"] is False
        assert all(value["description"] for value in definition["properties"].values())


@settings(max_examples=250, deadline=None)  # the campaign fuzzes with more
@given(st.binary(max_size=40), st.integers(0, len(FULL)), st.integers(0, 30))
def test_only_a_configuration_error_is_raised(noise: bytes, at: int, length: int) -> None:
    text = FULL.encode()
    try:
        read_configuration(text[:at] + noise + text[at + length :], file="agent.yaml")
    except ConfigurationError as error:
        assert error.message.startswith("agent.yaml")
