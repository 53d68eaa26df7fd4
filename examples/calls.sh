#!/bin/sh
# From nothing to a card with `machines-mcp call`, one call per line.
# Run it with `PATH="$PWD/.venv/bin:$PATH" sh examples/calls.sh`.
# This uses the embedded simulator, without a key. --approve approves each call, and works only there.
# Each result is one JSON object on stdout. A failed call prints an error object, so `field` fails and `set -e` ends the
# script.
set -eu

command -v machines-mcp >/dev/null || {
  echo 'machines-mcp is not on the PATH. In the checkout, run "make demo" once, then "source .venv/bin/activate".' >&2
  exit 1
}

MACHINES_ENV=embedded
MACHINES_USER_ID=user-1
MACHINES_STATE_DIR=$(mktemp -d)
export MACHINES_ENV MACHINES_USER_ID MACHINES_STATE_DIR
trap 'rm -rf "$MACHINES_STATE_DIR"' EXIT

# field NAME [LABEL]: print that member of the JSON object on stdin, after the label.
field() { python3 -c 'import json, sys; print(*sys.argv[2:], json.load(sys.stdin)[sys.argv[1]])' "$@"; }

machines-mcp call resolve_user | field user_id 'user:'

machines-mcp call --approve submit_kyc '{
  "first_name": "Ada", "last_name": "Approved", "birth_date": "1990-12-10", "national_id": "DEMO-0001",
  "country_of_issue": "US", "email": "ada@example.com", "address_line1": "1 Main Street",
  "address_city": "Springfield", "address_region": "IL", "address_postal_code": "62701", "address_country_code": "US",
  "occupation": "15-1132", "annual_salary": "50k–99k", "account_purpose": "testing",
  "expected_monthly_volume": "under $1k"}' | field status 'identity check:'

machines-mcp call --approve accept_agreements | field accepted 'agreements accepted:'

deposit=$(machines-mcp call create_deposit '{"currency": "rusd", "network": "base", "amount": 100}' | field deposit_id)
machines-mcp call get_deposit "{\"deposit_id\": \"$deposit\", \"wait_seconds\": 30}" | field status 'deposit:'

card=$(machines-mcp call --approve create_card \
  '{"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}' | field card_id)
machines-mcp call get_card "{\"card_id\": \"$card\"}" | field status 'card:'

# Errors are JSON, too: the code, a sentence, and the tool to call next.
machines-mcp call get_card '{"card_id": "00000000-0000-4000-8000-000000000000"}' |
  field code 'error for an unknown card, as expected:' || true
