"""What the documents say by generation is what the code says."""

from __future__ import annotations

from tests.docs.pages import ROOT, generator


def test_the_readme_has_the_tools_as_they_are() -> None:
    assert generator("generate").readme() == (ROOT / "README.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_page_on_policies_has_its_keys_and_defaults_as_they_are() -> None:
    kept = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    assert generator("policy_page").page() == kept, "run `make docs`"
