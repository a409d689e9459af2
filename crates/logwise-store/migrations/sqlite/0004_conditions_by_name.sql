CREATE INDEX IF NOT EXISTS logwise_conditions_by_name ON logwise_conditions (namespace, name)
