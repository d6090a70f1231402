#!/usr/bin/env bash
# One event straight into a Redis stream, past the outbox: CloudEvents attributes as fields. Whoever writes here chooses
# the partition, and keeps to one partition for each key.
set -euo pipefail

redis-cli -u "${REDIS_URL:-redis://127.0.0.1:6379}" \
  XADD "${STREAM_PREFIX:-factline}:chat:0" '*' \
  specversion 1.0 \
  id "$(cat /proc/sys/kernel/random/uuid)" \
  source examples/append.sh \
  type chat.message \
  time "$(date +%s.%N)" \
  partitionkey c-2 \
  data '{"conversation_id": "c-2", "speaker": "Grace", "content": "I live in Arlington."}'
