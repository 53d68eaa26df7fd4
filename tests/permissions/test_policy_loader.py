from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import SENSITIVE, Limits, Policy, PolicyError, Rule, SealingKey, default_policy
from machines_mcp.permissions.policy_loader import load_policy
from machines_mcp.storage import files
from machines_mcp.storage.withdrawals import Destination

EXAMPLES = Path(__file__).parents[2] / "examples"
CANARY = "canary-7f3a-9c21"
TOOLS = {
    "look": (ActionClass.READ,),
    "pay": (ActionClass.MONEY,),
    "change": (ActionClass.WRITE, ActionClass.MONEY),
    "note": (ActionClass.WRITE,),
}
HEAD = 'version = 1\nenvironment = "{}"\nusers = "any"\n'

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX owners and modes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def _load(path: Path, text: str = "", environment: str = "embedded", **options: Any) -> Policy:
    path.write_text(HEAD.format(environment) + text, encoding="utf-8")
    path.chmod(0o600)
    return _read(path, environment, **options)


def _read(path: Path, environment: str, **options: Any) -> Policy:
    given: dict[str, Any] = {"read_only": False, "tools": TOOLS, "thumbprint": _thumbprint} | options
    return load_policy(path, environment, **given)


def _thumbprint(key: bytes) -> str:
    if b'"d"' in key:
        raise ValueError("it is a private key")
    return f"thumbprint of {len(key)} bytes"


def _refused(path: Path, text: str = "", environment: str = "embedded", **options: Any) -> str:
    with pytest.raises(PolicyError) as refused:
        _load(path, text, environment, **options)
    return _sentence(refused.value)


def _sentence(error: PolicyError) -> str:
    text = str(error)
    assert text.endswith(".")
    assert ". " not in text, "it is one sentence"
    assert "\n" not in text
    assert len(text) < 200
    assert CANARY not in text
    assert error.__context__ is None or error.__suppress_context__
    return text


# Contents and defaults


def test_missing_entries_have_the_defaults_without_a_file(path: Path) -> None:
    for environment in ("embedded", "sandbox"):
        bare, usual = _load(path, "", environment), default_policy(environment, read_only=False)
        assert dict(bare.rules) == dict(usual.rules)
        assert (bare.sinks, bare.dialog, bare.tools) == (usual.sinks, usual.dialog, {})
        assert bare.identity_through_model is usual.identity_through_model is True


def test_cards_require_a_limit_unless_the_file_says_otherwise(path: Path) -> None:
    assert _load(path).limits == Limits()
    assert _load(path, "[cards]\nunbounded = true\n").limits.unbounded_cards


def test_missing_entries_are_denied_in_production(path: Path) -> None:
    policy = _load(path, "", "production")
    assert [action_class for action_class in ActionClass if policy.rule(action_class) is not Rule.DENY] == [
        ActionClass.READ
    ]
    assert policy.sinks == {"none"}
    assert policy.dialog == {ActionClass.WRITE}
    assert policy.identity_through_model is False
    assert policy.limits == Limits(
        max_limit_cents={},
        per_call_cents=0,
        per_day_cents=0,
        destinations=frozenset(),
        asks_per_minute=5,
        mutations_per_hour=20,
        reveals_per_card_per_day=3,
        total_asks_per_minute=50,
        total_mutations_per_hour=200,
    )


def test_every_policy_entry_is_loaded(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"kty": "EC", "crv": "P-256", "x": "", "y": ""}', encoding="ascii")
    key.chmod(0o600)
    policy = _load(
        path,
        f"""
        [classes]
        write = "ask"
        destroy = "deny"
        [tools]
        pay = "deny"
        change = {{ write = "deny", money = "ask" }}
        note = "allow"
        [cards]
        unbounded = true
        max_limit_cents = {{ per7DayPeriod = 500, allTime = 0 }}
        [withdrawals]
        per_call_cents = 1
        per_day_cents = 2
        per_user_day_cents = 3
        destinations = [
            {{ currency = "USDC", network = "base", address = "0x{"AA" * 20}" }},
            {{ currency = "XRP", network = "xrp", address = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", extra_id = "7" }},
        ]
        [rates]
        asks_per_minute = 4
        mutations_per_hour = 5
        reveals_per_card_per_day = 6
        locks_per_hour = 9
        total = {{ asks_per_minute = 7, mutations_per_hour = 8 }}
        [reveal]
        sinks = ["model", "page", "sealed"]
        model = true
        model_cvc = true
        copy = true
        sealed_key = "{key}"
        [identity]
        through_model = false
        [approval]
        dialog = ["write", "money"]
        waiting_per_user = 10
        [audit]
        head_file = "{tmp_path / "head"}"
        [retention]
        days = 11
        """,
        "embedded",
    )
    assert policy.rule(ActionClass.WRITE) is Rule.ASK
    assert policy.rule(ActionClass.DESTROY) is Rule.DENY
    assert {tool: dict(rules) for tool, rules in policy.tools.items()} == {
        "pay": {ActionClass.MONEY: Rule.DENY},
        "change": {ActionClass.WRITE: Rule.DENY},
        "note": {ActionClass.WRITE: Rule.ALLOW},
    }
    assert policy.limits == Limits(
        True,
        {"per7DayPeriod": 500, "allTime": 0},
        1,
        2,
        3,
        frozenset(
            {
                Destination("USDC", "base", "0x" + "AA" * 20),
                Destination("XRP", "xrp", "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", "7"),
            }
        ),
        4,
        5,
        6,
        7,
        8,
        9,
        10,
    )
    assert policy.sinks == {"none", "model", "page", "sealed"}
    assert policy.reveal_copy is True
    assert (policy.reveal_model, policy.reveal_model_cvc, policy.sealed_key) == (
        True,
        True,
        SealingKey(key.read_bytes(), _thumbprint(key.read_bytes())),
    )
    assert policy.identity_through_model is False
    assert policy.dialog == {ActionClass.WRITE, ActionClass.MONEY}
    assert policy.head_file == tmp_path / "head"
    assert policy.retention_days == 11
    assert (policy.source, policy.environment, policy.users) == (str(path), "embedded", None)


def test_enabled_sink_need_not_be_listed(path: Path) -> None:
    assert _load(path, "[reveal]\nmodel = true\n").sinks == {"none", "page", "model"}
    assert _load(path, "[reveal]\nsinks = []\n").sinks == {"none"}


def test_any_destination_can_be_listed(path: Path) -> None:
    assert _load(path, '[withdrawals]\ndestinations = "any"\n', "production").limits.destinations is None


def test_users_are_those_of_the_list(path: Path) -> None:
    path.write_text('version = 1\nenvironment = "sandbox"\nusers = ["ann", "bob"]\n', encoding="ascii")
    assert _read(path, "sandbox").users == frozenset({"ann", "bob"})


def test_read_only_allows_only_reads(path: Path) -> None:
    text = '[classes]\nread = "ask"\n[tools]\nlook = "allow"\npay = "allow"\n'
    policy = _load(path, text, read_only=True)
    assert policy.rule(ActionClass.READ) is Rule.ASK
    assert policy.rule(ActionClass.READ, "look") is Rule.ALLOW
    for action_class in set(ActionClass) - {ActionClass.READ}:
        assert policy.rule(action_class, "pay") is Rule.DENY
        assert "MACHINES_READ_ONLY" in policy.reason(action_class, "pay")


# Tools


@pytest.mark.parametrize(
    ("rule", "write", "money"),
    [("allow", None, None), ("ask", "ask", "ask"), ("deny", "deny", "deny")],
)
def test_one_rule_for_a_tool_of_two_classes_can_only_tighten(
    path: Path, rule: str, write: str | None, money: str | None
) -> None:
    text = f'[tools]\nchange = "{rule}"\n'
    if write is None or money is None:
        assert "tools.change is looser than classes.money; set it per class" in _refused(path, text)
        return
    policy = _load(path, text)
    assert (policy.rule(ActionClass.WRITE, "change"), policy.rule(ActionClass.MONEY, "change")) == (write, money)
    assert policy.rule(ActionClass.WRITE, "note") is Rule.ALLOW


def test_rule_for_a_tool_and_class_wins_in_both_directions(path: Path) -> None:
    policy = _load(path, '[tools]\nchange = { write = "deny", money = "allow" }\npay = "allow"\n')
    assert (policy.rule(ActionClass.WRITE, "change"), policy.rule(ActionClass.MONEY, "change")) == (
        Rule.DENY,
        Rule.ALLOW,
    )
    assert policy.rule(ActionClass.MONEY, "pay") is Rule.ALLOW
    assert policy.rule(ActionClass.MONEY) is Rule.ASK


# Invalid files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'colour = "{CANARY}"', "colour is not a policy key."),
        (f'[classes]\nmony = "{CANARY}"', "classes.mony is not a policy key; the nearest is money"),
        (f'"{CANARY}!" = 1', "(an invalid name) is not a policy key"),
        (f'[classes]\nmoney = "{CANARY}"', "classes.money must be 'allow', 'ask' or 'deny'"),
        ("[classes]\nmoney = true", "classes.money must be 'allow', 'ask' or 'deny'"),
        ('[tools]\nlook = "perhaps"', "tools.look must be 'allow', 'ask' or 'deny'"),
        ("[tools]\nlook = 3", "tools.look must be 'allow', 'ask' or 'deny'"),
        ("[tools]\nlook = []", "tools.look must be 'allow', 'ask' or 'deny'"),
        ('[tools]\nloook = "ask"', "tools.loook is not a tool; the nearest is look"),
        (f'[tools]\n"{CANARY}" = "ask"', "tools has a key that is not a tool"),
        ('[tools]\nlook = { money = "ask" }', "tools.look.money has no effect: calls of that tool are read"),
        ('[tools]\nchange = { mony = "ask" }', "tools.change.mony is not a policy key; the nearest is money"),
        ("classes = 3", "classes must be a table"),
        ("tools = 3", "tools must be a table"),
        ('[cards]\nunbounded = "yes"', "cards.unbounded must be true or false"),
        ("[cards]\nunbounded = 1", "cards.unbounded must be true or false"),
        ("[cards]\nmax_limit_cents = 3", "cards.max_limit_cents must be a table"),
        ("[cards.max_limit_cents]\nper30DayPeriod = -1", "cards.max_limit_cents.per30DayPeriod must be at least 0"),
        (
            "[cards.max_limit_cents]\nper30DaysPeriod = 1",
            "per30DaysPeriod is not a policy key; the nearest is per30",
        ),
        ("[withdrawals]\nper_day_cents = 1.5", "withdrawals.per_day_cents must be a whole number"),
        ('[withdrawals]\nper_day_cents = "1"', "withdrawals.per_day_cents must be a whole number"),
        ("[withdrawals]\nper_day_cents = true", "withdrawals.per_day_cents must be a whole number"),
        ("[withdrawals]\nper_day_cents = 1000000000001", "withdrawals.per_day_cents must be at most 1000000000000"),
        ("[withdrawals]\nper_day_cents = inf", "withdrawals.per_day_cents must be a whole number"),
        (f'[withdrawals]\ndestinations = "{CANARY}"', "withdrawals.destinations must be 'any'"),
        ("[withdrawals]\ndestinations = 3", "withdrawals.destinations must be a list"),
        ('[withdrawals]\ndestinations = ["x"]', "withdrawals.destinations[0] must be a table"),
        (
            f'[[withdrawals.destinations]]\ncurrency = "{CANARY}"\nnetwork = "base"',
            "withdrawals.destinations[0].address is missing",
        ),
        (
            f'[[withdrawals.destinations]]\ncurrency = "x"\nnetwork = "y"\nadress = "{CANARY}"',
            "withdrawals.destinations[0].adress is not a policy key; the nearest is address",
        ),
        (
            '[[withdrawals.destinations]]\ncurrency = "x"\nnetwork = "y"\naddress = " zzzz"',
            "withdrawals.destinations[0].address must have visible ASCII characters only",
        ),
        (
            '[[withdrawals.destinations]]\ncurrency = "US Dollar"\nnetwork = "y"\naddress = "zzzz"',
            "withdrawals.destinations[0].currency must be spelled as list_withdrawal_assets spells it",
        ),
        ("[rates]\nasks_per_minute = 1e3", "rates.asks_per_minute must be a whole number"),
        (
            "[rates]\ntotal.mutations = 5",
            "rates.total.mutations is not a policy key; the nearest is mutations_per_hour",
        ),
        ('[reveal]\nsinks = ["screen"]', "reveal.sinks[0] must be 'none', 'page', 'sealed' or 'model'"),
        ('[reveal]\nsinks = ["page", "page"]', "reveal.sinks must not repeat a value"),
        ('[reveal]\nsinks = ["model"]', "reveal.sinks includes model, which needs reveal.model = true"),
        ('[reveal]\nsinks = ["page"]\nmodel = true', "reveal.model is true, but reveal.sinks does not include model"),
        ("[reveal]\nmodel_cvc = true", "reveal.model_cvc needs reveal.model"),
        ('[reveal]\nsinks = ["none"]\ncopy = true', "reveal.copy needs page in reveal.sinks"),
        ('[reveal]\ncopy = "yes"', "reveal.copy must be true or false"),
        ("[reveal]\nmay_copy = true", "reveal.may_copy is not a policy key; the nearest is copy"),
        ('[reveal]\nsinks = ["sealed"]', "reveal.sinks includes sealed, which needs reveal.sealed_key"),
        ('[reveal]\nsealed_key = "key.json"', "reveal.sealed_key must be an absolute path"),
        (f'[reveal]\nsealed_key = "/nowhere/{CANARY}"', "reveal.sealed_key can't be read"),
        ('[audit]\nhead_file = "head"', "audit.head_file must be an absolute path"),
        (f'[audit]\nhead_file = "/nowhere/{CANARY}/head"', "audit.head_file is in a folder that does not exist"),
        ('[approval]\ndialog = "write"', "approval.dialog must be a list"),
        ('[approval]\ndialog = ["wirte"]', "approval.dialog[0] must be 'read', 'write',"),
        ("[identity]\nthrough_model = 0", "identity.through_model must be true or false"),
    ],
)
def test_error_is_named_by_path_without_its_value(path: Path, text: str, says: str) -> None:
    assert says in _refused(path, text)


def _bad_files(folder: Path) -> dict[str, str]:
    """Return files that no checkpoint can be written to, each with what the error says."""
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "folder")
    (folder / "plain").write_text("", encoding="ascii")
    os.mkfifo(folder / "pipe")
    return {
        f"{folder}/folder": "is a folder; name a file in it",
        f"{folder}/link": "is a folder; name a file in it",
        "/": "is a folder; name a file in it",
        f"{folder}/a\\u0000b": "must not have a NUL character; remove it",
        f"{folder}/a\\u0000b/c": "must not have a NUL character; remove it",
        f"{folder}/none/head": "is in a folder that does not exist; create the folder, or name a file in another",
        f"{folder}/plain/head": "is in a folder that does not exist; create the folder, or name a file in another",
        f"{folder}/pipe": "is not a regular file; name another",
        "/dev/null": "is not a regular file; name another",
        f"{folder}/{'x' * 250}": "can't be written; name a file in a folder that this user can write",
        # Not even root can: Linux has this folder and takes no files in it, other systems have none.
        "/proc/head": "can't be written; name a file in a folder that this user can write"
        if Path("/proc").is_dir()
        else "is in a folder that does not exist; create the folder, or name a file in another",
    }


@posix_only
def test_checkpoint_file_that_can_not_be_written_is_refused(path: Path, tmp_path: Path) -> None:
    for file, says in _bad_files(tmp_path).items():
        assert _refused(path, f'[audit]\nhead_file = "{file}"') == f"In the policy, audit.head_file {says}."


def test_folder_that_takes_no_files_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*given: Any) -> int:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(files, "make_file", read_only)
    assert "can't be written" in _refused(path, f'[audit]\nhead_file = "{tmp_path}/head"')


def test_checking_the_checkpoint_file_leaves_the_folder_as_it_is(path: Path, tmp_path: Path) -> None:
    (tmp_path / "head").write_text("kept", encoding="ascii")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("head", "new", "dangling"):
        assert _load(path, f'[audit]\nhead_file = "{tmp_path}/{name}"').head_file == tmp_path / name
    assert (tmp_path / "head").read_text(encoding="ascii") == "kept"
    assert {each.name for each in tmp_path.iterdir()} == {"head", "dangling", "policy.toml"}


@posix_only
@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("{folder}", "is not a regular file"),
        ("{folder}/a\\u0000b", "must not have a NUL character; remove it"),
        ("{folder}/none", "can't be read; check that it exists and that this user can read it"),
    ],
)
def test_key_file_that_can_not_be_read_is_refused(path: Path, tmp_path: Path, file: str, says: str) -> None:
    text = f'[reveal]\nsealed_key = "{file.format(folder=tmp_path)}"'
    assert _refused(path, text) == f"In the policy, reveal.sealed_key {says}."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "version is missing"),
        ('environment = "embedded"', "version is missing"),
        ('version = 2\nenvironment = "embedded"', "version must be 1"),
        ('version = "1"\nenvironment = "embedded"', "version must be a whole number"),
        ('version = true\nenvironment = "embedded"', "version must be a whole number"),
        (f'version = 1\nenvironment = "{CANARY}"', "environment must be 'embedded', 'sandbox' or 'production'"),
        ('version = 1\nenvironment = "sandbox"', "environment does not match MACHINES_ENV, which is embedded"),
        ('version = 1\nenvironment = "embedded"\nusers = []', "users must not be empty"),
        ('version = 1\nenvironment = "embedded"\nusers = "all"', "users must be 'any'"),
        ('version = 1\nenvironment = "embedded"\nusers = ["a", 3]', "users[1] must be a string"),
        ('version = 1\nenvironment = "embedded"\nusers = ["a", "a"]', "users must not repeat a value"),
        ('version = 1\nenvironment = "embedded"\nusers = [" a"]', "users[0] must not begin or end with a space"),
    ],
)
def test_incomplete_head_is_rejected(path: Path, text: str, says: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(PolicyError) as refused:
        _read(path, "embedded")
    assert says in _sentence(refused.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"[classes]\nmoney = {CANARY}\n", 5),
        ('[classes]\nmoney = "ask"\nmoney = "ask"\n', 6),
        ('[classes]\nmoney = "ask\n', 5),
        ("[cards]\n[cards]\n", 5),
        ('\n\n"', 6),
        ("version = 1\n", 4),
        ('x = """', 4),
        ("[classes]\nread = \x01", 5),
    ],
)
def test_syntax_error_is_reported_with_its_line(path: Path, text: str, line: int) -> None:
    assert f"not valid TOML at line {line}" in _refused(path, text)


def test_file_that_is_not_utf8_is_rejected(path: Path) -> None:
    path.write_bytes(b"version = 1\n# \xff\n")
    path.chmod(0o600)
    with pytest.raises(PolicyError, match="not valid UTF-8 at line 2"):
        _read(path, "embedded")
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(PolicyError, match="larger than 65536 bytes"):
        _read(path, "embedded")
    path.write_bytes(b"a = " + b"[" * 30_000)
    with pytest.raises(PolicyError, match="not TOML"):
        _read(path, "embedded")


@given(text=st.text(max_size=60))
def test_any_text_is_loaded_or_rejected_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any-policy.toml"
    try:
        _load(path, text)
    except PolicyError as error:
        _sentence(error)


# Only the simulator may allow everything


@pytest.mark.parametrize("environment", ["sandbox", "production"])
@pytest.mark.parametrize("action_class", sorted(SENSITIVE))
def test_outside_the_simulator_no_sensitive_class_is_allowed(path: Path, environment: str, action_class: str) -> None:
    text = f'[classes]\n{action_class} = "allow"\n'
    assert _load(path, text).rule(ActionClass(action_class)) is Rule.ALLOW
    assert f"classes.{action_class} must be ask or deny" in _refused(path, text, environment)


@pytest.mark.parametrize("environment", ["sandbox", "production"])
@pytest.mark.parametrize(
    ("text", "says"),
    [('pay = "allow"', "tools.pay must be"), ('change = { money = "allow" }', "tools.change.money must be")],
)
def test_outside_the_simulator_no_sensitive_tool_is_allowed(path: Path, environment: str, text: str, says: str) -> None:
    assert says in _refused(path, f'[tools]\n{text}\n[classes]\nwrite = "allow"\nmoney = "ask"\n', environment)


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_open_example_is_for_the_simulator_only(environment: str, tmp_path: Path) -> None:
    tools, path = _real_tools(), _example("open", tmp_path)
    policy = _read(path, "embedded", tools=tools)
    assert {policy.rule(action_class) for action_class in ActionClass} == {Rule.ALLOW}
    with pytest.raises(PolicyError, match=r"classes\.money must be ask or deny: only embedded may allow"):
        _read(path, environment, tools=tools)
    path.write_text(path.read_text(encoding="utf-8").replace('"embedded"', f'"{environment}"'), encoding="utf-8")
    with pytest.raises(PolicyError, match=r"classes\.money"):
        _read(path, environment, tools=tools)


@pytest.mark.parametrize("environment", ["embedded", "sandbox", "production"])
def test_each_environment_has_a_valid_example(environment: str, tmp_path: Path) -> None:
    path = _example(environment, tmp_path)
    policy = _read(path, environment, tools=_real_tools())
    assert policy.environment == environment
    assert policy.limits.per_day_cents is not None
    for other in {"embedded", "sandbox", "production"} - {environment}:
        with pytest.raises(PolicyError, match="environment does not match MACHINES_ENV"):
            _read(path, other, tools=_real_tools())


def _example(name: str, folder: Path) -> Path:
    """Copy the example to a private file, since a group may have write access to a checkout."""
    copy = folder / f"policy-{name}.toml"
    copy.write_bytes((EXAMPLES / copy.name).read_bytes())
    copy.chmod(0o600)
    return copy


def _real_tools() -> dict[str, tuple[ActionClass, ...]]:
    from machines_mcp.tools.catalog import TOOLS as REAL

    return {tool.name: tool.action_classes for tool in REAL}


def test_dialog_approves_only_writes_in_production(path: Path) -> None:
    text = '[approval]\ndialog = ["write", "money"]\n'
    assert "approval.dialog may list only write" in _refused(path, text, "production")
    assert _load(path, text, "sandbox").channels(ActionClass.MONEY) == {"dialog", "desk", "terminal"}


# Totals


def test_total_rate_is_ten_times_the_rate_of_each_user_unless_set(path: Path) -> None:
    limits = _load(path, "[rates]\nasks_per_minute = 4\nmutations_per_hour = 5\ntotal.mutations_per_hour = 5\n").limits
    assert (limits.total_asks_per_minute, limits.total_mutations_per_hour) == (40, 5)
    limits = _load(path, "[rates]\ntotal.asks_per_minute = 9\n").limits
    assert (limits.asks_per_minute, limits.total_asks_per_minute, limits.total_mutations_per_hour) == (None, 9, None)


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("[rates]\nasks_per_minute = 9\ntotal.asks_per_minute = 8", "embedded"),
        ("[rates.total]\nasks_per_minute = 4", "production"),
    ],
)
def test_total_rate_below_that_of_each_user_is_refused(path: Path, text: str, environment: str) -> None:
    says = "rates.total.asks_per_minute is lower than rates.asks_per_minute, which is the limit of each user"
    assert says in _refused(path, text, environment)


# Users


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_outside_the_simulator_users_must_be_listed(path: Path, environment: str) -> None:
    path.write_text(f'version = 1\nenvironment = "{environment}"\n', encoding="ascii")
    path.chmod(0o600)
    assert _read(path, environment, user_id="ann").users is None
    with pytest.raises(PolicyError, match="users is missing"):
        _read(path, environment)


def test_pinned_user_must_be_listed(path: Path) -> None:
    path.write_text('version = 1\nenvironment = "embedded"\nusers = ["ann"]\n', encoding="ascii")
    path.chmod(0o600)
    assert _read(path, "embedded", user_id="ann").users == frozenset({"ann"})
    with pytest.raises(PolicyError, match="users does not include MACHINES_USER_ID"):
        _read(path, "embedded", user_id=CANARY)


# The sealed key


def test_unusable_sealed_key_is_rejected(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text('{"kty": "EC", "d": "x"}', encoding="ascii")
    key.chmod(0o600)
    said = _refused(path, f'[reveal]\nsealed_key = "{key}"\n')
    assert said == "In the policy, reveal.sealed_key is not a usable public key: it is a private key."


def test_the_sealed_key_is_read_once_and_is_part_of_the_digest(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text('{"kty": "EC"}', encoding="ascii")
    key.chmod(0o600)
    first = _load(path, f'[reveal]\nsealed_key = "{key}"\n')
    key.write_text('{"kty": "EC", "x": "another"}', encoding="ascii")
    assert first.sealed_key == SealingKey(b'{"kty": "EC"}', "thumbprint of 13 bytes")
    second = _load(path, f'[reveal]\nsealed_key = "{key}"\n')
    assert second.sealed_key == SealingKey(key.read_bytes(), "thumbprint of 29 bytes")
    assert first.digest != second.digest


@posix_only
def test_sealed_key_writable_by_others_is_rejected(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("{}", encoding="ascii")
    key.chmod(0o666)
    assert "reveal.sealed_key is not safe: it is writable" in _refused(path, f'[reveal]\nsealed_key = "{key}"\n')


# File ownership


@posix_only
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o664])
def test_file_writable_by_others_is_rejected(path: Path, mode: int) -> None:
    _load(path)
    path.chmod(mode)
    with pytest.raises(PolicyError, match="is not safe: it is writable by its group or by everyone; run chmod go-w"):
        _read(path, "embedded")


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o444])
def test_file_only_readable_by_others_is_accepted(path: Path, mode: int) -> None:
    _load(path)
    path.chmod(mode)
    assert _read(path, "embedded").source == str(path)


@posix_only
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_parent_folder_writable_by_others_is_rejected(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    _load(folder / "policy.toml")
    for open_to_others in (folder, folder.parent):
        open_to_others.chmod(mode)
        with pytest.raises(PolicyError, match="is not safe: a parent folder is writable"):
            _read(folder / "policy.toml", "embedded")
        open_to_others.chmod(0o755)
    assert _read(folder / "policy.toml", "embedded").source


@posix_only
def test_symlink_is_followed_unless_others_can_write_its_target(tmp_path: Path) -> None:
    open_folder, link = tmp_path / "open", tmp_path / "link.toml"
    open_folder.mkdir()
    _load(open_folder / "policy.toml")
    link.symlink_to(Path("open") / ".." / "open" / "policy.toml")
    assert _read(link, "embedded").source == str(link)
    open_folder.chmod(0o777)
    with pytest.raises(PolicyError, match="a parent folder is writable"):
        _read(link, "embedded")
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(PolicyError, match="loop of symbolic links"):
        _read(link, "embedded")


@posix_only
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_rejected(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link.toml"
    folder.mkdir()
    _load(folder / "policy.toml")
    link.symlink_to(folder / "policy.toml")
    for owned, what in (
        (folder / "policy.toml", "it"),
        (folder, "a parent folder"),
        (link, "a link on its path"),
    ):
        os.chown(owned, 12345, 0, follow_symlinks=False)
        with pytest.raises(PolicyError, match=f"is not safe: {what} belongs to another user"):
            _read(link, "embedded")
        os.chown(owned, 0, 0, follow_symlinks=False)
    assert _read(link, "embedded").source


def test_unreadable_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="can't be read"):
        _read(tmp_path / CANARY, "embedded")
    with pytest.raises(PolicyError, match="not a regular file"):
        _read(tmp_path, "embedded")


@posix_only
def test_pipe_is_rejected_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PolicyError, match="not a regular file"):
        _read(tmp_path / "pipe", "embedded")


def test_file_swapped_while_read_is_rejected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _load(path)
    really = os.open

    def swapped(name: Path, flags: int) -> int:
        other = path.with_name("other")
        other.write_bytes(path.read_bytes())
        other.replace(path)
        return really(name, flags)

    monkeypatch.setattr("machines_mcp.storage.trusted_file.os.open", swapped)
    with pytest.raises(PolicyError, match="was replaced while being read"):
        _read(path, "embedded")


# The digest


def test_equal_policies_have_equal_digests_anywhere(path: Path, tmp_path: Path) -> None:
    text = '[classes]\nmoney = "deny"\n'
    first = _load(path, text)
    assert first.digest == _load(tmp_path / "other.toml", f"# a remark\n{text}").digest
    assert len(first.digest) == 64


@pytest.mark.parametrize(
    "text",
    [
        '[classes]\nmoney = "deny"',
        '[tools]\npay = "deny"',
        "[cards]\nunbounded = true",
        "[cards.max_limit_cents]\nallTime = 5",
        "[withdrawals]\nper_call_cents = 5",
        "[withdrawals]\nper_day_cents = 5",
        "[withdrawals]\nper_user_day_cents = 5",
        "[withdrawals]\ndestinations = []",
        "[rates]\nasks_per_minute = 5",
        "[rates]\nmutations_per_hour = 5",
        "[rates]\nreveals_per_card_per_day = 5",
        "[reveal]\nsinks = []",
        "[reveal]\nmodel = true",
        "[reveal]\ncopy = true",
        "[identity]\nthrough_model = false",
        "[approval]\ndialog = []",
        '[audit]\nhead_file = "/head"',
    ],
)
def test_digest_covers_every_decision(path: Path, text: str) -> None:
    assert _load(path, text).digest != _load(path).digest
