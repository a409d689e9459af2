CREATE TABLE IF NOT EXISTS logwise_conditions (
    uid                  TEXT    NOT NULL,
    type                 TEXT    NOT NULL,
    kind                 TEXT    NOT NULL,
    namespace            TEXT    NOT NULL,
    name                 TEXT    NOT NULL,
    status               TEXT    NOT NULL,
    reason               TEXT    NOT NULL,
    message              TEXT    NOT NULL,
    observed_generation  INTEGER NOT NULL,
    last_transition_time TEXT    NOT NULL,
    PRIMARY KEY (uid, type)
)
