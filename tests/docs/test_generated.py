"""The generated parts of the documents match the code."""

from __future__ import annotations

from tests.docs.pages import ROOT, generator


def test_the_readme_lists_the_current_tools() -> None:
    assert generator("generate").readme() == (ROOT / "README.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_policy_page_lists_the_current_keys_and_defaults() -> None:
    kept = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    assert generator("policy_page").page() == kept, "run `make docs`"


def test_the_installing_page_has_the_current_configs() -> None:
    kept = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    assert generator("client_blocks").page() == kept, "run `make docs`"
