CREATE INDEX IF NOT EXISTS logwise_samples_by_time ON logwise_samples (taken_at)
