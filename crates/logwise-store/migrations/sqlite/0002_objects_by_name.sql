CREATE INDEX IF NOT EXISTS logwise_objects_by_name ON logwise_objects (namespace, name)
