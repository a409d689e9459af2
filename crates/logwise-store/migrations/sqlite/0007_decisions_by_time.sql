CREATE INDEX IF NOT EXISTS logwise_decisions_by_time ON logwise_decisions (decided_at)
