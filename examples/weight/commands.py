"""What the reader can type while the demo runs."""

import json
import os
import sys
from pathlib import Path

from examples.weight.story import Story

HILUM = os.path.relpath(Path(sys.executable).with_name("hilum"))
PYTHON = os.path.relpath(sys.executable)
MODULE = "examples.weight.recommender2"
EATEN = "$HILUM_URL/Phone/eaten"
ICE = '{"time": "23:00", "food": "ice cream", "kcal": 900, "total": 3000}'
HERE = os.path.relpath(Path(__file__).parent)


def commands(story: Story) -> list[tuple[str, str]]:
    """Return comments and commands, with the real addresses and files."""
    stage, plan = story.stage, story.client.plan
    tokens, admin = stage.tokens, stage.ready["token_file"]
    alice = f'curl -sS -H "Authorization: Bearer $(cat {tokens}/alice.token)"'
    recommender = f"--site $HILUM_URL --token-file {tokens}/recommender.token --instance c"
    asked = json.dumps({"plan": plan})
    victim = stage.children.all["recommender2-a"].process.pid
    return [
        ("in another terminal, as the operator", f"export HILUM_URL={stage.url}"),
        ("", f"export HILUM_TOKEN_FILE={admin}"),
        ("call, as alice", f"{alice} $HILUM_URL/{plan}/getRecommendation"),
        ("call the wristband, by MQTT", f"{alice} $HILUM_URL/Wristband/show -d '{asked}'"),
        ("and the phone, by CoAP", f"{alice} $HILUM_URL/Phone/remind -d '{asked}'"),
        ("watch", f"{alice} -N -H 'Accept: text/event-stream' \"{EATEN}?after=oldest\""),
        ("", f"{HILUM} watch Phone/burned"),
        ("eat something: the advice changes", f"{HILUM} publish Phone/eaten '{ICE}'"),
        ("back to the old version, and to both", f"{HILUM} apply -f {HERE}/versions/1.0.0.yaml"),
        ("", f"{HILUM} apply -f {HERE}/versions/half.yaml"),
        (
            "who may, and why",
            f"{HILUM} policy explain --as user:mallory --kind user --do call {plan}/checkGoal",
        ),
        ("what is there", f"{HILUM} registry list"),
        ("", f"{HILUM} introspect Recommender"),
        ("another instance, then kill one", f"{PYTHON} -m {MODULE} {recommender} &"),
        ("", f"kill -9 {victim}"),
        ("the logs", f"ls {stage.children.logs}"),
    ]
