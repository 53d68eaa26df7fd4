from __future__ import annotations

import os
from pathlib import Path

import pytest

from machines_mcp.cli.client_configs.clients import CLIENTS
from machines_mcp.cli.client_configs.entry import entry
from machines_mcp.cli.client_configs.errors import ConfigError
from machines_mcp.server.app import App
from machines_mcp.server.settings import SettingsError
from machines_mcp.server.settings_reader import read_settings

CANARY = "canary-7f3a-9c21"
URL = f"https://rpc.example/v3/{CANARY}"

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX promise")


def refusal(env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        read_settings(env)
    assert CANARY not in str(refused.value)
    assert str(refused.value).endswith((".", "?"))
    return str(refused.value)


def test_each_chain_has_its_own_node(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{URL}\n", encoding="ascii")
    file.chmod(0o600)
    local = "http://127.0.0.1:8545"
    settings = read_settings({"MACHINES_RPC_URL_84532": local, "MACHINES_RPC_URL_8453_FILE": str(file)})
    assert {chain: url.expose() for chain, url in settings.rpc_urls.items()} == {84532: local, 8453: URL}
    assert CANARY not in repr(settings)
    # A message may name another page of the same host, so an address without a key is no secret.
    assert [secret.expose() for secret in settings.secrets] == [URL]
    assert read_settings({"MACHINES_RPC_URL_84532": ""}).rpc_urls == {}


@pytest.mark.parametrize(
    ("env", "says"),
    [
        (
            {"MACHINES_RPC_URL_1": f"http://{CANARY}.example/"},
            "MACHINES_RPC_URL_1 must be an https URL, or an http URL",
        ),
        ({"MACHINES_RPC_URL_1": f"https://{CANARY}:x@rpc.example/"}, "without a user name"),
        ({"MACHINES_RPC_URL_1": "<url>"}, "MACHINES_RPC_URL_1 is a placeholder"),
        ({"MACHINES_RPC_URL_1_FILE": f"/nowhere/{CANARY}"}, "MACHINES_RPC_URL_1_FILE can't be read"),
        ({"MACHINES_RPC_URL_1_FILE": "/"}, "MACHINES_RPC_URL_1_FILE is not a regular file"),
        ({"MACHINES_RPC_URL_1": URL, "MACHINES_RPC_URL_1_FILE": "/x"}, "are both set; keep one"),
        ({"MACHINES_RPC_URL": URL}, "not a setting: MACHINES_RPC_URL. Did you mean MACHINES_RPC_URL_<chain id>?"),
        ({"MACHINES_RPC_URL_": URL}, "not a setting"),
        ({"MACHINES_RPC_URL_0": URL}, "not a setting"),
        ({"MACHINES_RPC_URL_01": URL}, "not a setting"),
        ({"MACHINES_RPC_URL_0x14a34": URL}, "not a setting"),
        ({"MACHINES_RPC_URL_BASE": URL}, "not a setting"),
        ({"MACHINES_RPC_URL_٣": URL}, "not a setting"),
        ({"MACHINES_RPC_URL_1_file": URL}, "not a setting"),
        ({"MACHINES_RPC_URLS_1": URL}, "not a setting"),
    ],
)
def test_other_names_and_values_refuse_to_start(env: dict[str, str], says: str) -> None:
    assert says in refusal(env)


@posix_only
def test_a_file_that_others_can_read_or_that_holds_no_address_refuses_to_start(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(CANARY, encoding="ascii")
    file.chmod(0o600)
    assert "names a file whose address must be an https URL" in refusal({"MACHINES_RPC_URL_1_FILE": str(file)})
    file.write_bytes(b"https://rpc.example/\xff")
    assert "not ASCII" in refusal({"MACHINES_RPC_URL_1_FILE": str(file)})
    file.chmod(0o644)
    assert "run chmod 600" in refusal({"MACHINES_RPC_URL_1_FILE": str(file)})


def test_the_output_filter_withholds_the_address(tmp_path: Path) -> None:
    settings = read_settings({"MACHINES_RPC_URL_84532": URL, "MACHINES_STATE_DIR": str(tmp_path)})
    assert App(settings).output_filter.contains_secret(f"see {URL} for more")


def test_a_clients_config_gets_the_file_and_never_the_address(tmp_path: Path) -> None:
    client = CLIENTS["claude-code"]
    with pytest.raises(ConfigError, match="Set MACHINES_RPC_URL_84532_FILE instead") as refused:
        entry(client, {"MACHINES_RPC_URL_84532": URL})
    assert CANARY not in str(refused.value)
    written = entry(client, {"MACHINES_RPC_URL_84532_FILE": str(tmp_path / "url"), "MACHINES_RPC_URL_X": URL})
    assert written[client.env_key] == {
        "MACHINES_ENV": "embedded",
        "MACHINES_RPC_URL_84532_FILE": str(tmp_path / "url"),
    }
