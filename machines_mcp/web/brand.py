"""The colors and the mark of our pages, for the desk and for the views inside a client."""

from __future__ import annotations

LIGHT = (
    "--page: #f4f5f7; --sheet: #ffffff; --sunk: #f4f5f7; --ink: #16191d; --soft: #535b66; --line: #dfe2e8;"
    " --edge: #858d99; --accent: #1f5eff; --link: #1a52e0; --on-accent: #ffffff; --bad: #b3261e; --good: #17693a;"
    " --wait: #7a4b00; --note: #fff4d6; --on-note: #4b3a05; --mark: #dbe6ff; --on-mark: #0d2a78;"
    " --shade: 0 1px 2px rgb(16 24 40 / .06), 0 1px 6px rgb(16 24 40 / .04);"
)
DARK = (
    "--page: #101215; --sheet: #1a1d22; --sunk: #14171b; --ink: #eceff3; --soft: #a7b0bc; --line: #2d333c;"
    " --edge: #747d8a; --accent: #86a9ff; --link: #9db9ff; --on-accent: #0b1530; --bad: #ff9a92; --good: #7fd6a2;"
    " --wait: #f3c56b; --note: #3a3116; --on-note: #f7e6b2; --mark: #26376b; --on-mark: #dfe8ff; --shade: none;"
)
COLORS = (
    f":root {{ color-scheme: light dark; {LIGHT} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {DARK} }} }}\n"
)
"""The colors as custom properties, in the scheme of the browser."""
CHOSEN_COLORS = (
    f':root[data-theme="light"] {{ color-scheme: light; {LIGHT} }}\n'
    f':root[data-theme="dark"] {{ color-scheme: dark; {DARK} }}\n'
)
"""The colors of a page whose root element names its scheme."""
MARK = (
    '<svg class="mark" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
    '<rect x="2" y="5" width="20" height="14" rx="3"/><path d="M2 10h20M6 15h5"/></svg>'
)
"""A card, as the pages' heads show it."""
