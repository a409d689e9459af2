CREATE TABLE IF NOT EXISTS logwise_decisions (
    id         VARCHAR(255) NOT NULL,
    uid        VARCHAR(64)  NOT NULL COMMENT 'logwise_objects.uid',
    namespace  VARCHAR(253) NOT NULL,
    name       VARCHAR(253) NOT NULL,
    part       VARCHAR(64)  NOT NULL COMMENT 'the part of the object that decided',
    generation BIGINT       NOT NULL COMMENT 'metadata.generation',
    decided_at DATETIME(6)  NOT NULL COMMENT 'UTC',
    plan_id    VARCHAR(255) NOT NULL,
    inputs     LONGTEXT     NOT NULL COMMENT 'JSON',
    actions    LONGTEXT     NOT NULL COMMENT 'JSON',
    holds      LONGTEXT     NOT NULL COMMENT 'JSON',
    outcome    LONGTEXT     NOT NULL COMMENT 'JSON',
    PRIMARY KEY (id),
    KEY logwise_decisions_by_part (uid, part, decided_at),
    KEY logwise_decisions_by_time (decided_at),
    KEY logwise_decisions_by_name (namespace, name, decided_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
