CREATE TABLE IF NOT EXISTS logwise_decisions (
    id         TEXT    NOT NULL PRIMARY KEY,
    uid        TEXT    NOT NULL,
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    part       TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    decided_at TEXT    NOT NULL,
    plan_id    TEXT    NOT NULL,
    inputs     TEXT    NOT NULL,
    actions    TEXT    NOT NULL,
    holds      TEXT    NOT NULL,
    outcome    TEXT    NOT NULL
)
