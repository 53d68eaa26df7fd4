from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.protocol.toolset import TOOLSETS
from machines_mcp.redaction.environment import Environment
from machines_mcp.server.settings import PRODUCTION_URL, SANDBOX_URL, SettingsError
from machines_mcp.server.settings_reader import read_settings

KEY = "mk-test-0123456789"
CANARY = "canary-7f3a-9c21"
SANDBOX = {"MACHINES_ENV": "sandbox", "MACHINES_PARTNER_KEY": KEY, "MACHINES_USER_ID": "user-1"}

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX promise")


@pytest.fixture(autouse=True)
def _no_stored_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide keys that are stored on the machine that runs the tests."""
    monkeypatch.setattr("machines_mcp.server.keyring_store.read_keyring", lambda environment: None)
    monkeypatch.setattr(
        "machines_mcp.server.keyring_store.key_file", lambda environment: Path("/nowhere") / environment
    )


def _refusal(env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        read_settings(env)
    sentence = str(refused.value)
    assert sentence.endswith((".", "?"))
    assert KEY not in sentence
    assert CANARY not in sentence
    return sentence


def test_without_settings_the_server_uses_the_simulator() -> None:
    settings = read_settings({})
    assert settings.environment is Environment.EMBEDDED
    assert settings.simulated
    assert (settings.partner_key, settings.api_url, settings.user_id) == (None, None, None)
    assert settings.toolsets == set(TOOLSETS)
    assert settings.read_only is False
    assert settings.ask_in_client is False
    assert settings.log_level == "WARNING"


def test_an_empty_variable_counts_as_unset() -> None:
    names = ("MACHINES_ENV", "MACHINES_PARTNER_KEY", "MACHINES_API_URL", "MACHINES_POLICY", "MACHINES_READ_ONLY")
    assert read_settings(dict.fromkeys(names, "")) == read_settings({})


def test_sandbox_has_one_host_and_one_user() -> None:
    settings = read_settings(SANDBOX)
    assert not settings.simulated
    assert settings.api_url == SANDBOX_URL
    assert settings.user_id == "user-1"
    assert settings.partner_key is not None
    assert settings.partner_key.expose() == KEY


def test_production_has_one_host() -> None:
    settings = read_settings(SANDBOX | {"MACHINES_ENV": "production"})
    assert (settings.environment, settings.api_url) == (Environment.PRODUCTION, PRODUCTION_URL)
    assert not settings.simulated


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_a_policy_may_replace_the_user_setting(environment: str) -> None:
    env = {"MACHINES_ENV": environment, "MACHINES_PARTNER_KEY": KEY, "MACHINES_POLICY": "/etc/machines/policy.toml"}
    settings = read_settings(env)
    assert (settings.user_id, settings.policy) == (None, Path("/etc/machines/policy.toml"))


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"MACHINES_PARTNER_KEY": KEY}, "MACHINES_ENV is not; set it to sandbox or production"),
        ({"MACHINES_ENV": "embedded", "MACHINES_PARTNER_KEY": KEY}, "takes no partner key"),
        ({"MACHINES_ENV": "sandbox"}, "needs MACHINES_PARTNER_KEY or MACHINES_PARTNER_KEY_FILE"),
        ({"MACHINES_ENV": "sandbox", "MACHINES_PARTNER_KEY": KEY}, "needs MACHINES_USER_ID"),
        (SANDBOX | {"MACHINES_ENV": "production", "MACHINES_USER_ID": ""}, "needs MACHINES_USER_ID"),
        ({"MACHINES_ENV": "production"}, "needs MACHINES_PARTNER_KEY or MACHINES_PARTNER_KEY_FILE"),
        ({"MACHINES_ENV": "production", "MACHINES_POLICY": "/p.toml"}, "needs MACHINES_PARTNER_KEY or"),
        ({"MACHINES_ENV": CANARY}, "must be embedded, sandbox or production"),
        ({"MACHINES_ENV": "Embedded"}, "must be embedded, sandbox or production"),
        (SANDBOX | {"MACHINES_PARTNER_KEY_FILE": "/x"}, "are both set"),
        (SANDBOX | {"MACHINES_PARTNER_KEY": "short"}, "8 to 512 printable"),
        (SANDBOX | {"MACHINES_PARTNER_KEY": KEY + " x"}, "8 to 512 printable"),
        (SANDBOX | {"MACHINES_PARTNER_KEY": KEY + "\n"}, "8 to 512 printable"),
        (SANDBOX | {"MACHINES_PARTNER_KEY": KEY + "é"}, "8 to 512 printable"),
        ({"MACHINES_USER": "x"}, "Did you mean MACHINES_USER_ID?"),
        ({"MACHINES_REDONLY": "1"}, "Did you mean MACHINES_READ_ONLY?"),
        ({"MACHINES_PROXI": "1"}, "Did you mean MACHINES_PROXY?"),
        ({"MACHINES_" + "X" * 500: "1"}, "is not a setting"),
        ({"MACHINES_POLICY": CANARY}, "MACHINES_POLICY must be an absolute path"),
        ({"MACHINES_TRACE": CANARY}, "MACHINES_TRACE must be an absolute path"),
        ({"MACHINES_TRACE": f"/{CANARY}/trace"}, "MACHINES_TRACE must be a writable file"),
        ({"MACHINES_TRACE": "/"}, "MACHINES_TRACE must be a writable file"),
        ({"MACHINES_TRACE": os.devnull}, "MACHINES_TRACE must be "),
        ({"MACHINES_STATE_DIR": CANARY}, "must be an absolute path"),
        ({"MACHINES_STATE_DIR": f"~{CANARY}/state"}, "must be an absolute path"),
        ({"MACHINES_TOOLSETS": f"cards,{CANARY}"}, "must be a comma-separated list of: onboarding, funding"),
        ({"MACHINES_TOOLSETS": " , "}, "must be a comma-separated list"),
        ({"MACHINES_TOOLSETS": "always"}, "must be a comma-separated list"),
        ({"MACHINES_READ_ONLY": CANARY}, "must be true or false"),
        ({"MACHINES_ASK_IN_CLIENT": CANARY}, "MACHINES_ASK_IN_CLIENT must be true or false"),
        ({"MACHINES_LOG_LEVEL": CANARY}, "must be one of: DEBUG"),
        ({"MACHINES_DESK_PORT": CANARY}, "must be a port number from 1024 to 65535"),
        ({"MACHINES_DESK_PORT": "1023"}, "must be a port number from 1024 to 65535"),
        ({"MACHINES_DESK_PORT": "65536"}, "must be a port number from 1024 to 65535"),
        ({"MACHINES_DESK_PORT": "8080 "}, "must be a port number from 1024 to 65535"),
        ({"MACHINES_CA_FILE": f"/nowhere/{CANARY}"}, "must be a file"),
        ({"MACHINES_CA_FILE": "/"}, "must be a file"),
        ({"MACHINES_PROXY": CANARY}, "must be an http or https URL"),
        ({"MACHINES_PROXY": f"socks5://{CANARY}:1"}, "must be an http or https URL"),
        ({"MACHINES_PROXY": f"http://[{CANARY}"}, "must be an http or https URL"),
        ({"MACHINES_PROXY": "http://proxy:port"}, "must be an http or https URL"),
        ({"MACHINES_PROXY": "http://"}, "must be an http or https URL"),
    ],
)
def test_missing_unknown_or_contradictory_settings_refuse_to_start(env: dict[str, str], says: str) -> None:
    sentence = _refusal(env)
    assert says in sentence
    assert len(sentence) < 200


def test_the_prefix_alone_makes_no_suggestion() -> None:
    assert _refusal({"MACHINES_FOO": "1"}).endswith("is not a setting: MACHINES_FOO.")


@pytest.mark.parametrize(
    "user_id",
    ["", " ", "x" * 121, " user", "user ", "a\nb", "a\tb", "a\x7fb", "a\u202eb", "a\u200bb", "a\u2028b", "\ud800"],
)
def test_a_user_id_that_no_tool_accepts_is_refused_at_startup(user_id: str) -> None:
    if user_id:
        assert "MACHINES_USER_ID" in _refusal({"MACHINES_USER_ID": user_id})
    else:
        assert read_settings({"MACHINES_USER_ID": user_id}).user_id is None


@given(user_id=st.text(min_size=1, max_size=130))
def test_settings_and_tools_accept_the_same_user_ids(user_id: str) -> None:
    from machines_mcp.protocol.tool import UserInput
    from machines_mcp.redaction.placeholders import placeholder_fault, word_fault

    if word_fault(user_id) or placeholder_fault(user_id):
        # Of arguments, the reader of calls refuses these before the model is made.
        _refusal({"MACHINES_USER_ID": user_id})
        return
    try:
        UserInput.model_validate({"user_id": user_id})
    except ValueError:
        _refusal({"MACHINES_USER_ID": user_id})
    else:
        assert read_settings({"MACHINES_USER_ID": user_id}).user_id == user_id


# API URLs


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8080/partner/v1", "http://127.0.0.1:8080/partner/v1"),
        ("http://127.0.0.1:8080/partner/v1/", "http://127.0.0.1:8080/partner/v1"),
        ("https://localhost/partner/v1", "https://localhost/partner/v1"),
        ("http://LOCALHOST:1/x", "http://LOCALHOST:1/x"),
        ("http://127.8.9.10:1", "http://127.8.9.10:1"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_a_loopback_api_url_is_accepted(url: str, kept: str) -> None:
    assert read_settings(SANDBOX | {"MACHINES_API_URL": url}).api_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/partner/v1",
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1:80@evil.example/",
        "http://evil.example@127.0.0.1/",
        "http://:password@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://evil.example#@127.0.0.1/",
        "http://127.0.0.1#@evil.example/",
        "http://127.0.0.1?@evil.example/",
        "http://127.0.0.1/?",
        "http://127.0.0.1/#",
        "http://127.0.0.1\\@evil.example/",
        "http://127.0.0.1\\.evil.example/",
        "http://evil.example\\@127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://[::]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fe80::1]/",
        "http://[::1/",
        "http://[::1]evil.example/",
        "http://[::1%25eth0]/",
        "http://localhost./",
        "http://lоcalhost/",  # noqa: RUF001 - a Cyrillic letter
        "http://１２７.0.0.1/",  # noqa: RUF001 - digits of full width
        "httpſ://127.0.0.1/",  # noqa: RUF001 - a long s
        "http://127.0.0.1/é",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1\n.evil.example/",
        "http://127.0.0\n.1/",
        "\thttp://127.0.0.1/",
        " http://127.0.0.1/",
        "http://127.0.0.1/ x",
        "http:/127.0.0.1/",
        "http:127.0.0.1",
        "//127.0.0.1/",
        "127.0.0.1:8080",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "unix:/run/socket",
        "http://",
        CANARY,
    ],
)
def test_an_unsafe_api_url_is_refused(url: str) -> None:
    assert "MACHINES_API_URL must be" in _refusal(SANDBOX | {"MACHINES_API_URL": url})


@pytest.mark.parametrize("environment", [None, "embedded", "production"])
def test_only_sandbox_accepts_another_url(environment: str | None) -> None:
    env = {"MACHINES_API_URL": "http://127.0.0.1:1"} | (SANDBOX if environment == "production" else {})
    if environment:
        env["MACHINES_ENV"] = environment
    assert "works only with MACHINES_ENV=sandbox" in _refusal(env)


def test_the_default_hosts_are_those_of_the_api() -> None:
    assert PRODUCTION_URL == "https://api.machines.cash/partner/v1"
    assert SANDBOX_URL == "https://dev-api.machines.cash/partner/v1"


# Key file


def _with_file(path: Path) -> dict[str, str]:
    return {"MACHINES_ENV": "sandbox", "MACHINES_USER_ID": "user-1", "MACHINES_PARTNER_KEY_FILE": str(path)}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / CANARY
    path.write_text(KEY + "\n", encoding="ascii")
    path.chmod(0o600)
    return path


def test_the_key_may_come_from_a_file(key_file: Path) -> None:
    key = read_settings(_with_file(key_file)).partner_key
    assert key is not None
    assert key.expose() == KEY


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644, 0o610, 0o601])
def test_a_key_file_that_others_can_access_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert "run chmod 600" in _refusal(_with_file(key_file))


@posix_only
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_private_key_file_is_accepted(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert read_settings(_with_file(key_file)).partner_key is not None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "8 to 512"),
        (b"short", "8 to 512"),
        (KEY.encode() + b"\n" + KEY.encode(), "8 to 512"),
        (b"\xef\xbb\xbf" + KEY.encode(), "not ASCII"),
        (KEY.encode("utf-16"), "not ASCII"),
        (b"k" * 10_000_000, "8 to 512"),
    ],
    ids=["empty", "short", "two lines", "byte order mark", "UTF-16", "huge"],
)
def test_a_file_without_a_valid_key_is_refused(key_file: Path, content: bytes, says: str) -> None:
    key_file.write_bytes(content)
    assert says in _refusal(_with_file(key_file))


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    assert "can't be read" in _refusal(_with_file(tmp_path / "missing"))
    assert "not a regular file" in _refusal(_with_file(tmp_path))


@posix_only
def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in _refusal(_with_file(tmp_path / "pipe"))


# State folder


def test_each_environment_and_key_has_its_own_folder(tmp_path: Path) -> None:
    given = {"MACHINES_STATE_DIR": str(tmp_path)}
    folders = {
        read_settings(env | given).state_dir
        for env in ({}, SANDBOX, SANDBOX | {"MACHINES_PARTNER_KEY": KEY + "x"}, SANDBOX | {"MACHINES_USER_ID": "other"})
    }
    assert len(folders) == 3
    assert {folder.parent for folder in folders} == {tmp_path}
    assert tmp_path / "embedded" in folders
    assert not any(KEY in str(folder) for folder in folders)
    assert list(tmp_path.iterdir()) == []


def test_the_default_state_folder_follows_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = read_settings({}).state_dir
    assert folder.is_absolute()
    assert folder.parent.name == "machines-mcp"
    assert read_settings({"MACHINES_STATE_DIR": "~/here"}).state_dir == tmp_path / "here" / "embedded"


# Other settings


@pytest.mark.parametrize(
    ("value", "flag"), [("1", True), ("true", True), ("YES", True), ("0", False), ("False", False), ("no", False)]
)
def test_a_flag_takes_the_usual_spellings(value: str, flag: bool) -> None:
    assert read_settings({"MACHINES_READ_ONLY": value}).read_only is flag
    assert read_settings({"MACHINES_ASK_IN_CLIENT": value}).ask_in_client is flag


def test_toolsets_log_level_proxy_and_certificates_are_read(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("# from the café\nPEM", encoding="utf-8")
    settings = read_settings(
        {
            "MACHINES_TOOLSETS": " cards, observe ,",
            "MACHINES_LOG_LEVEL": "debug",
            "MACHINES_DESK_PORT": "8765",
            "MACHINES_PROXY": "http://user:word@proxy.example:3128",
            "MACHINES_CA_FILE": str(certificates),
        }
    )
    assert settings.toolsets == {"cards", "observe"}
    assert settings.log_level == "DEBUG"
    assert settings.desk_port == 8765
    assert settings.proxy == "http://user:word@proxy.example:3128"
    # Read once: another file under the name changes nothing.
    certificates.write_text("others", encoding="ascii")
    assert settings.ca_certificates == "# from the caf\nPEM"


def test_the_repr_hides_the_key_and_the_proxy_password() -> None:
    shown = repr(read_settings(SANDBOX | {"MACHINES_PROXY": f"http://user:{CANARY}@proxy.example:3128"}))
    assert KEY not in shown
    assert CANARY not in shown


def test_the_process_environment_is_the_default_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHINES_USER_ID", "user-of-the-process")
    assert read_settings().user_id == "user-of-the-process"


@posix_only
def test_the_trace_is_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    assert read_settings({"MACHINES_TRACE": str(path)}).trace == path
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("kept\n", encoding="utf-8")
    read_settings({"MACHINES_TRACE": str(path)})
    assert path.read_text(encoding="utf-8") == "kept\n"
    assert read_settings({}).trace is None
    os.mkfifo(tmp_path / "pipe")
    assert "must be a writable file" in _refusal({"MACHINES_TRACE": str(tmp_path / "pipe")})
