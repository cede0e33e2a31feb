"""Signatures of commits and tags, checked against a list of keys on the host, with settings that are ours alone.

A list has lines of ``allowed_signers`` as ``ssh-keygen`` reads them, armored OpenPGP keys, or both. git asks
``ssh-keygen`` and ``gpg`` with a copy of the list, in a key ring that has no other key.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.files import building
from reconciler.host.git_commands import local
from reconciler.host.git_objects import headers
from reconciler.host.processes import run
from reconciler.model.errors import CommandFailed, ConfigurationError, HostError, SignatureRefused
from reconciler.model.object_ids import short

LIST_BYTES = 1024 * 1024
IMPORT_SECONDS = 60.0
LINKS_FOLLOWED = 40
REVOKED_ENDING = ".revoked"
"""Beside a list, a file with this ending may have SSH keys that are revoked."""

_ARMORED = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?-----END PGP PUBLIC KEY BLOCK-----\n?", re.DOTALL)
_GPG_SETTINGS = "batch\nno-autostart\nno-auto-key-retrieve\ntrust-model always\n"
_SSH_KEY = re.compile(r"\bkey (SHA256:[A-Za-z0-9+/]+)")
_PGP_KEY = re.compile(r"^\[GNUPG:\] (?:ERRSIG|NO_PUBKEY|EXPKEYSIG|REVKEYSIG|BADSIG|EXPSIG) ([0-9A-F]+)", re.MULTILINE)
_PGP_FAILURES = (
    ("REVKEYSIG", "is signed by a key that was revoked"),
    ("EXPKEYSIG", "is signed by a key that has expired"),
    ("EXPSIG", "has a signature that has expired"),
    ("BADSIG", "has a signature that does not fit it"),
)


@dataclass(frozen=True, slots=True)
class Signers:
    """A list of keys: ``file`` as it is named, ``digest`` of its content, ``folder`` with the copies for programs."""

    file: Path
    digest: str
    folder: Path


def signers_digest(file: Path) -> str:
    """A hash of what a list says, revoked keys included; empty when it cannot be read."""
    try:
        return _digest(*_contents(file))
    except ConfigurationError:
        return ""


def read_signers(file: Path, cache: Path, *, outside: tuple[Path, ...]) -> Signers:
    """Read a list of keys, and put copies for the programs into ``cache``.

    Raises :class:`ConfigurationError` for a list that is missing or empty, that others can write, or that lies in a
    git repository or below one of ``outside``: who can change the list could sign anything.
    """
    _check_place(file, outside)
    content, revoked = _contents(file)
    text = content.decode("utf-8", "replace")
    armored = "".join(_ARMORED.findall(text))
    lines = [line for line in _ARMORED.sub("", text).splitlines() if line.strip() and not line.startswith("#")]
    if not armored and not lines:
        raise ConfigurationError(
            f"the list of signers {file} has no key",
            hint="write lines as for ssh-keygen's allowed_signers, or the output of `gpg --armor --export`",
        )
    digest = _digest(content, revoked)
    folder = cache / "signers" / digest[:32]
    if not folder.is_dir():
        with building(folder) as built:
            (built / "allowed").write_text("\n".join([*lines, ""]))
            (built / "revoked").write_bytes(revoked)
            _make_ring(built / "ring", armored, file)
    return Signers(file, digest, folder)


def check_commit(mirror: Path, shown: str, commit: str, signers: Signers) -> None:
    """Raise :class:`SignatureRefused` unless a commit is signed by a key of the list."""
    _check(mirror, "verify-commit", commit, f"commit {short(commit)} of {shown}", signers)


def check_tag(mirror: Path, shown: str, ref: str, commit: str, signers: Signers) -> None:
    """Raise :class:`SignatureRefused` unless a tag is signed by a listed key, with this name and for this commit."""
    name = ref.removeprefix("refs/tags/")
    what = f"tag {name} of {shown}"
    header = headers(mirror, [ref])[0]
    if header is None or header.kind != "tag":
        raise SignatureRefused(f"{what} is not signed: it has no tag object", hint="make it with `git tag --sign`")
    text = local(mirror, ("cat-file", "tag", header.object_id)).decode("utf-8", "replace")
    said = dict(line.split(" ", 1) for line in text.partition("\n\n")[0].split("\n") if " " in line)
    if said.get("object") != commit or said.get("type") != "commit" or said.get("tag") != name:
        raise SignatureRefused(
            f"{what} was signed as {said.get('tag', 'nothing')[:80]!r} for {short(said.get('object', ''))}, "
            f"and stands at {short(commit)}",
            hint="somebody renamed or moved it; sign it anew if that was meant",
        )
    _check(mirror, "verify-tag", header.object_id, what, signers)


def _check(mirror: Path, command: str, object_id: str, what: str, signers: Signers) -> None:
    settings = {
        "gpg.ssh.allowedSignersFile": str(signers.folder / "allowed"),
        "gpg.ssh.program": "ssh-keygen",
        "gpg.program": "gpg",
        # nobody can list certificates, so that none counts
        "gpg.x509.program": "/bin/false",
        # ssh-keygen says fully for a listed key and nothing for any other
        "gpg.minTrustLevel": "fully",
    }
    if (signers.folder / "revoked").stat().st_size:
        settings["gpg.ssh.revocationFile"] = str(signers.folder / "revoked")
    environment = {"GNUPGHOME": str(signers.folder / "ring"), "GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        local(mirror, (command, "--raw", object_id), environment=environment)
    except CommandFailed as failure:
        if "cannot run" in failure.tail:
            program = "gpg" if "gpg" in failure.tail else "ssh-keygen"
            raise HostError(
                f"{program} is not on this host, and {what} needs it to be checked",
                hint=f"apt-get install {'gnupg' if program == 'gpg' else 'openssh-client'}",
            ) from failure
        raise SignatureRefused(
            f"{what} {_reason(failure.tail, signers)}",
            hint=f"sign it with a key in {signers.file}, or list the key there",
        ) from failure


def _reason(output: str, signers: Signers) -> str:
    """Why a signature does not count, from what the programs say, as the rest of a sentence."""
    ssh, pgp = _SSH_KEY.search(output), _PGP_KEY.search(output)
    if not output.strip() or "no signature found" in output:
        return "is not signed"
    if "is revoked" in output or "Signature verification failed: key is revoked" in output:
        return "is signed by a key that was revoked"
    failed = next((sentence for word, sentence in _PGP_FAILURES if f"[GNUPG:] {word} " in output), None)
    if pgp is not None:
        return f"{failed or 'is signed by a key that is not listed'}, {pgp[1]}"
    if ssh is not None and "Good " in output:
        listed = ssh[1] in _fingerprints(signers)
        why = "a key that was not valid at its date" if listed else "a key that is not listed"
        return f"is signed by {why}, {ssh[1]}"
    wrong = "incorrect signature" in output.lower() or "ould not verify signature" in output
    return (
        "has a signature that does not fit it, or that its line in the list forbids"
        if wrong
        else "has a signature that cannot be checked"
    )


def _fingerprints(signers: Signers) -> frozenset[str]:
    found = set()
    for word in (signers.folder / "allowed").read_text().split():
        if word.startswith("AAAA"):
            try:
                blob = base64.b64decode(word, validate=True)
            except ValueError:
                continue
            found.add("SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("="))
    return frozenset(found)


def _check_place(file: Path, outside: tuple[Path, ...]) -> None:
    place = Path(os.path.realpath(file))
    forbidden = {Path(os.path.realpath(other)) for other in outside}
    # who can change a link on the way to the list could lead to another one
    for folder in dict.fromkeys(parent for step in (place, *_steps(file)) for parent in step.parents):
        bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()
        if bare or (folder / ".git").exists() or Path(os.path.realpath(folder)) in forbidden:
            raise ConfigurationError(
                f"the list of signers {file} lies in {folder}, where commits or this agent could change it",
                hint="put it beside agent.yaml, outside of every repository and of the state folder",
            )
    try:
        status = place.stat()
    except OSError as error:
        raise ConfigurationError(
            f"the list of signers {file} cannot be read: {error.strerror}", hint="nothing is deployed without it"
        ) from error
    if stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
        raise ConfigurationError(f"anybody may write the list of signers {file}", hint=f"run `chmod o-w {file}`")


def _steps(file: Path) -> Iterator[Path]:
    """The paths of the links that lead to a file, itself among them."""
    step = file.absolute()
    for _ in range(LINKS_FOLLOWED):
        yield step
        if not step.is_symlink():
            return
        step = Path(os.path.normpath(step.parent / step.readlink()))


def _contents(file: Path) -> tuple[bytes, bytes]:
    revoked = file.with_name(file.name + REVOKED_ENDING)
    try:
        with file.open("rb") as opened:
            content = opened.read(LIST_BYTES + 1)
        if len(content) > LIST_BYTES:
            raise ConfigurationError(f"the list of signers {file} has more than {LIST_BYTES:,} bytes")
        return content, revoked.read_bytes() if revoked.exists() else b""
    except OSError as error:
        raise ConfigurationError(
            f"the list of signers {error.filename} cannot be read: {error.strerror}",
            hint="nothing is deployed without it",
        ) from error


def _digest(content: bytes, revoked: bytes) -> str:
    return hashlib.sha256(b"%d %b %b" % (len(content), content, revoked)).hexdigest()


def _make_ring(folder: Path, armored: str, file: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "gpg.conf").write_text(_GPG_SETTINGS)
    if not armored:
        return
    environment = {"PATH": os.environ.get("PATH", os.defpath), "GNUPGHOME": str(folder), "LC_ALL": "C"}
    try:
        run(
            ("gpg", "--status-fd", "1", "--import"),
            timeout=IMPORT_SECONDS,
            env=environment,
            stdin=armored.encode(),
            cwd=folder,
        )
    except CommandFailed as failure:
        if "[GNUPG:] IMPORT_OK " in failure.tail:
            # it also wants an agent for secret keys, and there is none
            return
        raise ConfigurationError(
            f"the OpenPGP keys in {file} cannot be read: {failure}", hint="export them with `gpg --armor --export`"
        ) from failure
