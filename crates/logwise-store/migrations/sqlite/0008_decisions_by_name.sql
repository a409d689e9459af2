CREATE INDEX IF NOT EXISTS logwise_decisions_by_name ON logwise_decisions (namespace, name, decided_at)
