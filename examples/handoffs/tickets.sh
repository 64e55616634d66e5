#!/bin/sh
# Five support tickets through three tiers. Without a model: the replies are in the files beside them.
# With one (OPENAI_API_KEY or OPENAI_BASE_URL set), leave out --replies.
here=$(dirname "$0")
for n in 1 2 3 4 5; do
  echo "ticket $n"
  ${AGENT_RUNNER:-agent-runner} run "$here/ticket-$n.json" --agents "$here/tickets.yaml" --replies "$here/ticket-$n.jsonl" --watch --table || exit 1
done
