CREATE TABLE IF NOT EXISTS logwise_conditions (
    uid                  VARCHAR(64)   NOT NULL COMMENT 'logwise_objects.uid of an object that exists',
    type                 VARCHAR(316)  NOT NULL,
    kind                 VARCHAR(63)   NOT NULL,
    namespace            VARCHAR(253)  NOT NULL,
    name                 VARCHAR(253)  NOT NULL,
    status               VARCHAR(16)   NOT NULL COMMENT 'True, False or Unknown',
    reason               VARCHAR(1024) NOT NULL,
    message              MEDIUMTEXT    NOT NULL,
    observed_generation  BIGINT        NOT NULL,
    last_transition_time DATETIME(6)   NOT NULL COMMENT 'UTC',
    PRIMARY KEY (uid, type),
    KEY logwise_conditions_by_name (namespace, name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
