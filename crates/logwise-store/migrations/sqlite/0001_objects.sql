CREATE TABLE IF NOT EXISTS logwise_objects (
    uid         TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,
    namespace   TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    deleted     INTEGER NOT NULL,
    spec        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    observed_at TEXT    NOT NULL
)
