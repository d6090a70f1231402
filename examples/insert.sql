-- One event for the outbox, by plain SQL. In an application this stands in the transaction that changes its data.
INSERT INTO outbox_events (topic, key, event_type, payload)
VALUES ('chat', 'c-1', 'chat.message',
        '{"conversation_id": "c-1", "message_id": "m-1", "role": "user", "speaker": "Ada",
          "content": "I work at Olivetti.", "sent_at": "2026-03-01T09:30:00Z"}');
