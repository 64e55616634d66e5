#!/bin/sh
# Five support tickets through three tiers. Without a model: the replies are in the files beside them.
# With one (OPENAI_API_KEY or OPENAI_BASE_URL set), leave out --replies.
cd "$(dirname "$0")" || exit 1
for n in 1 2 3 4 5; do
  echo "ticket $n"
  ${AGENT_RUNNER:-agent-runner} run ticket-$n.json --agents tickets.yaml --replies ticket-$n.jsonl --watch --table || exit 1
done
