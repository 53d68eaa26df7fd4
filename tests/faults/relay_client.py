"""A relay like a real client: it starts the server, forwards its own input, and can be killed.

`python -m tests.faults.relay_client`. The server inherits its output.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.server_process import SERVER


def main() -> None:
    server = subprocess.Popen([sys.executable, *SERVER], stdin=subprocess.PIPE)
    assert server.stdin is not None
    while chunk := os.read(0, 65536):
        server.stdin.write(chunk)
        server.stdin.flush()
    server.stdin.close()
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
