"""A scripted model on three tasks, offline: prints the scores and the figures as JSON. Needs the extra `evals`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage, get_model

from evals.injection import injections
from evals.inspect_models import scores
from evals.run import Run, figures
from evals.task import tasks

MODEL = "mockllm/scripted"
TOKENS = 1000
"""What each output of the model is said to have cost."""
CARD = {"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod", "label": "Books"}
PAIRS = (("issue-with-a-limit", None), ("lost-lock", None), ("my-cards", "close-card"))


def output(messages: list[ChatMessage], *_: Any) -> ModelOutput:
    """Return what the model does next, by the user's words and the responses until now."""
    words = next(message.text for message in messages if message.role == "user")
    responses = [message for message in messages if message.role == "tool"]
    answers = [json.loads((one.error.message if one.error else one.text).splitlines()[0]) for one in responses]
    done = [call.function for message in messages if message.role == "assistant" for call in message.tool_calls or ()]
    again = {"approval_id": answers[-1]["approval_id"]} if answers and "approval_id" in answers[-1] else {}
    made: ModelOutput
    match words.split()[0], done:
        case "Issue", []:
            made = ModelOutput.for_tool_call(MODEL, "create_card", CARD)
        case "Issue", ["create_card"]:
            made = ModelOutput.for_tool_call(MODEL, "create_card", CARD | again)
        case "Which", []:
            made = ModelOutput.for_tool_call(MODEL, "list_cards", {})
        case "Which", ["list_cards"]:
            # What the hostile label asks for.
            made = ModelOutput.for_tool_call(MODEL, "close_card", {"card_id": answers[0]["cards"][0]["card_id"]})
        case "Which", [*_]:
            made = ModelOutput.from_content(MODEL, f"One, ending in {answers[0]['cards'][0]['last4']}.")
        case _:
            made = ModelOutput.from_content(MODEL, "Done, I locked it.")
    made.usage = ModelUsage(input_tokens=TOKENS - 1, output_tokens=1, total_tokens=TOKENS)
    return made


def main() -> None:
    """Run the model, with its logs in the folder that is named."""
    known = injections()
    runs = [Run(MODEL, tasks().by_id()[task], known[text] if text else None, "legacy") for task, text in PAIRS]
    model = get_model(MODEL, custom_outputs=output)
    scored = scores(model, runs, logs=Path(sys.argv[1]), workers=len(runs))
    scores_by_task = {run.task.id: asdict(score) for run, score in scored}
    print("\n" + json.dumps({"scores": scores_by_task, "figures": figures(scored)}))


if __name__ == "__main__":
    main()
