"""Field types of the manifest and of the agent's configuration, each with the sentence for a wrong value."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    StrictStr,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from reconciler.model.uwsgi_options import EXPANSIONS, is_settable
from reconciler.model.values import ENVIRONMENT_NAME_PATTERN, NAME_PATTERN, size_in_bytes

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
SERVER_NAME_PATTERN = rf"^(?=.{{1,253}}$)(\*\.)?({_LABEL}\.)*{_LABEL}$"
SIZE_PATTERN = r"^[0-9]{1,6}[kKmMgG]?$"
DURATION_PATTERN = r"^[0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h)$"
HEADER_NAME_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"
MODULE_PATTERN = r"^[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*:[A-Za-z_][\w.]*(\(\))?$"
UWSGI_OPTION_PATTERN = r"^[a-z0-9][a-z0-9-]{0,63}$"
PYTHON_VERSION_PATTERN = r"^3\.[0-9]{1,2}(\.[0-9]{1,2})?$"
ACCOUNT_PATTERN = r"^[a-z_][a-z0-9_-]{0,30}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
URL_PATH_PATTERN = r"^/[A-Za-z0-9._~!&'()*+,=:@%/-]*$"

TEXT_TAG = "(text)"
MAPPING_TAG = "(mapping)"

_USER = r"([A-Za-z0-9_][^\s/@]*@)?"
_HOST = r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)"
_HOST_ADDRESS = rf"(https|ssh)://{_USER}{_HOST}(:[0-9]{{1,5}})?/[^\s-]\S*"
_SHORT_ADDRESS = rf"[A-Za-z0-9_][\w.-]*@{_HOST}:[^\s-]\S*"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


LEAST_MEMORY_BYTES = 32 * 1024 * 1024
VALUE_CHARACTERS = 80
"""How much of a wrong value a message shows."""


def about(description: str) -> Any:
    """The sentence that an editor shows for a key."""
    return Field(description=description)


def shown(value: object) -> str:
    """A value as a message shows it: quoted, cut short, and without the password of an address."""
    if not isinstance(value, str):
        return str(value)[:VALUE_CHARACTERS]
    text = re.sub(r"://[^/@\s]*@", "://***@", value)
    return repr(text if len(text) <= VALUE_CHARACTERS else text[:VALUE_CHARACTERS] + "...")


def refuse(message: str) -> PydanticCustomError:
    """The error that pydantic reports word by word."""
    return PydanticCustomError("refused", "{message}", {"message": message})


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text that matches a pattern as a whole; ``sentence`` says what is wrong with any other.

    A ``secret`` is not repeated in the sentence.
    """

    pattern: str
    sentence: str
    secret: bool = False

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        compiled = re.compile(self.pattern)

        def check(value: str) -> str:
            # fullmatch, because "$" alone would let a trailing newline through
            if not compiled.fullmatch(value):
                raise refuse(f"{'the value' if self.secret else shown(value)} {self.sentence}")
            return value

        return core_schema.no_info_after_validator_function(check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern}


def _one_line(value: str) -> str:
    if _CONTROL.search(value):
        raise refuse(f"{shown(value)} has a line break or another control character")
    return value


def parse_duration(value: str) -> timedelta:
    """``1500ms``, ``30s``, ``5m`` or ``2h`` as a :class:`~datetime.timedelta`."""
    match = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", value)
    if not match or not re.fullmatch(DURATION_PATTERN, value):
        raise refuse(f"{shown(value)} is not a duration; write a number and ms, s, m or h, such as 30s")
    return timedelta(seconds=float(match[1]) * _UNIT_SECONDS[match[2]])


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise refuse(f"{shown(value)} is not a duration; write a number and ms, s, m or h, such as 30s")


def _inside(value: str) -> str:
    """A relative path that cannot leave the folder it is meant for."""
    _one_line(value)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if not value or value.startswith("/") or "\\" in value or ".." in parts or ".git" in parts:
        raise refuse(f"{shown(value)} must be a relative path inside the app, without '..'")
    return "/".join(parts) or "."


def _absolute(value: str) -> str:
    _one_line(value)
    if not value.startswith("/") or ".." in PurePosixPath(value).parts:
        raise refuse(f"{shown(value)} must be an absolute path without '..'")
    return value


def _command(value: str) -> str:
    if not value.strip() or "\x00" in value:
        raise refuse("a command must not be empty")
    return value


def _environment_value(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refuse("an environment value is text; write it in quotes")
    text = str(value)
    if "\x00" in text:
        raise refuse("an environment value cannot hold a NUL byte")
    return text


def _revision(value: str) -> str:
    # the same rules as git check-ref-format, and no leading dash, so that git never takes it for an option
    _one_line(value)
    forbidden = re.search(r"[\s~^:?*\[\\]|\.\.|@\{|//", value) or value.startswith(("-", "/", "."))
    if value and not forbidden and not value.endswith(("/", ".", ".lock")):
        return value
    # spaces, carets and stars belong to version ranges, which are checked by their own parser
    if re.fullmatch(r"[\^~=<>!*0-9][\w.\s,<>=!^~*|+-]*", value) and ".." not in value:
        return value
    raise refuse(f"{shown(value)} is not a branch, tag, commit or version range")


def _repository(value: str) -> str:
    if value == ".":
        return value
    return _address(value, "'.'")


def _config_repository(value: str) -> str:
    if "::" in value or "://" in value or re.match(r"[^/]+@[^/]+:", value):
        return _address(value, "a path")
    _one_line(value)
    if not value.strip() or value.startswith("-"):
        raise refuse(f"{shown(value)} is not a repository address")
    return value


def _address(value: str, otherwise: str) -> str:
    """An address with a transport that is allowed, and with a host that no program can take for an option."""
    _one_line(value)
    if re.match(r"[A-Za-z0-9+.-]+::", value) or re.match(r"(?!(https|ssh|file)://)[A-Za-z0-9+.-]+://", value):
        raise refuse(f"{shown(value)}: only https, ssh and file addresses are allowed")
    if re.fullmatch(rf"({_HOST_ADDRESS}|{_SHORT_ADDRESS}|file:///\S+|/[^\n]*)", value):
        return value
    raise refuse(f"{shown(value)} is not a repository address; write https://, ssh://, file:// or {otherwise}")


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise refuse("the duration must be longer than zero")
    return value


def _one_second(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise refuse("the interval must be at least 1s")
    return value


def _option_value(value: object) -> object:
    """A uWSGI option: true or false, a whole number, one line of text, or a list of lines."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(_option_text(item) for item in value)
    if isinstance(value, str):
        return _option_text(value)
    if isinstance(value, bool | int):
        return value
    raise refuse("the value of a uWSGI option is text, a whole number, true, false or a list of text")


def _option_text(value: str) -> str:
    for expansion in EXPANSIONS:
        if expansion in value:
            raise refuse(f"{shown(value)} holds '{expansion}', which uWSGI would replace")
    if value != value.strip():
        raise refuse(f"{shown(value)} begins or ends with a blank, which uWSGI would drop")
    return _one_line(value)


def _address_to_listen(value: str) -> str:
    if value == "localhost":
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise refuse(f"{shown(value)} is not an IP address, such as 127.0.0.1") from None


def _root(value: str) -> str:
    _one_line(value)
    if not value.strip():
        raise refuse("the root folder must not be empty")
    return value


def _settable(value: str) -> str:
    if not is_settable(value):
        raise refuse(f"{shown(value)} cannot be allowed: the reconciler sets it, or it would undo its work")
    return value


def _memory(value: str) -> str:
    if size_in_bytes(value) < LEAST_MEMORY_BYTES:
        raise refuse(f"{shown(value)} is less than any program needs; the least is 32m")
    return value


def _file(value: str) -> str:
    _one_line(value)
    if not value.strip() or value.endswith("/"):
        raise refuse(f"{shown(value)} is not the path of a file")
    return value


def text_or_mapping(value: object) -> str:
    """The tag of the branch of a union that a value is meant for, so that only its errors are reported."""
    return MAPPING_TAG if isinstance(value, dict) else TEXT_TAG


Name = Annotated[
    str, Pattern(NAME_PATTERN, "is not a name; use a-z, 0-9 and '-', a letter first, 40 characters at most")
]
ServerName = Annotated[str, Pattern(SERVER_NAME_PATTERN, "is not a host name that nginx can serve")]
Size = Annotated[str, Pattern(SIZE_PATTERN, "is not a size; write a number and k, m or g, such as 1m")]
Module = Annotated[str, Pattern(MODULE_PATTERN, "is not module:callable, such as wsgi:app")]
EnvironmentName = Annotated[str, Pattern(ENVIRONMENT_NAME_PATTERN, "is not the name of an environment variable")]
HeaderName = Annotated[str, Pattern(HEADER_NAME_PATTERN, "is not the name of an HTTP header")]
OptionName = Annotated[str, Pattern(UWSGI_OPTION_PATTERN, "is not a uWSGI option")]
AllowedOption = Annotated[OptionName, AfterValidator(_settable)]
PythonVersion = Annotated[
    str, Pattern(PYTHON_VERSION_PATTERN, 'is not a Python version; write it in quotes, such as "3.11"')
]
SourceArchive = Annotated[
    str,
    Pattern(
        r"^(https?://[^\s/@]+|file://)/\S+\.(tar\.xz|tar\.gz|tgz|tar\.bz2)$",
        "is not the http, https or file address of a .tar.xz, .tgz, .tar.gz or .tar.bz2 archive, without a password",
    ),
]
Mirror = Annotated[
    str, Pattern(r"^(https?://[^\s@]+|file:///\S*)$", "is not an http, https or file address without a password")
]
Account = Annotated[str, Pattern(ACCOUNT_PATTERN, "is not the name of an account")]
HttpsAddress = Annotated[
    str,
    Pattern(r"^https://[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]*(/[!-~]*)?$", "is not an address that begins with https://"),
]
Email = Annotated[
    str, Pattern(r"^[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9][A-Za-z0-9.-]*$", "is not an e-mail address")
]
Sha256 = Annotated[str, Pattern(SHA256_PATTERN, "is not a sha256 in 64 lower-case hexadecimal digits")]
UrlPath = Annotated[str, Pattern(URL_PATH_PATTERN, "is not a URL path that begins with '/'")]
RequestPath = Annotated[str, Pattern(r"^/[!-~]*$", "is not a request path: it begins with '/' and has no spaces")]
PackageName = Annotated[str, Pattern(r"^[a-z0-9][a-z0-9+.-]{1,127}$", "is not the name of a system package")]
SecretReference = Annotated[
    str,
    Pattern(
        r"^(?!/)(?!(.*/)?\.\.?/)(?!\.\.?#)([A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]*\.(yaml|yml|json|env)#[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        "is not FILE#KEY with a .yaml, .json or .env file in the config repository, such as secrets/blog.yaml#key",
        secret=True,
    ),
]
Line = Annotated[StrictStr, AfterValidator(_one_line)]
RelativePath = Annotated[StrictStr, AfterValidator(_inside)]
AbsolutePath = Annotated[StrictStr, AfterValidator(_absolute)]
Command = Annotated[StrictStr, AfterValidator(_command)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Count = Annotated[int, Field(strict=True, ge=1, le=1024)]
FileCount = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
EnvironmentValue = Annotated[str, BeforeValidator(_environment_value), WithJsonSchema({"type": ["string", "number"]})]
OptionValue = Annotated[
    bool | int | str | tuple[str, ...],
    PlainValidator(_option_value),
    WithJsonSchema({"type": ["boolean", "integer", "string", "array"], "items": {"type": "string"}}),
]
Memory = Annotated[Size, AfterValidator(_memory)]
Processes = Annotated[int, Field(strict=True, ge=16, le=4_000_000)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
ConfigRepository = Annotated[StrictStr, AfterValidator(_config_repository)]
ListenAddress = Annotated[StrictStr, AfterValidator(_address_to_listen)]
FilePath = Annotated[StrictStr, AfterValidator(_file)]
RootFolder = Annotated[StrictStr, AfterValidator(_root)]
HostName = Annotated[str, Pattern(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$", "is not a host name")]
Revision = Annotated[StrictStr, AfterValidator(_revision)]
Repository = Annotated[StrictStr, AfterValidator(_repository)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "5m"]}),
]
Timeout = Annotated[Duration, AfterValidator(_positive)]
Interval = Annotated[Duration, AfterValidator(_one_second)]
