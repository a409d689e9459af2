CREATE TABLE IF NOT EXISTS logwise_samples (
    cluster  TEXT    NOT NULL,
    slot     INTEGER NOT NULL,
    taken_at TEXT    NOT NULL,
    payload  BLOB    NOT NULL,
    PRIMARY KEY (cluster, slot)
)
