CREATE INDEX IF NOT EXISTS logwise_decisions_by_part ON logwise_decisions (uid, part, decided_at, id)
