CREATE TABLE IF NOT EXISTS logwise_objects (
    uid         VARCHAR(64)  NOT NULL COMMENT 'metadata.uid',
    kind        VARCHAR(63)  NOT NULL COMMENT 'LogwiseCluster or RetentionPolicy',
    namespace   VARCHAR(253) NOT NULL,
    name        VARCHAR(253) NOT NULL,
    generation  BIGINT       NOT NULL COMMENT 'metadata.generation',
    revision    BIGINT       NOT NULL COMMENT 'metadata.resourceVersion, never goes back',
    deleted     TINYINT      NOT NULL COMMENT '1: the object no longer exists',
    spec        LONGTEXT     NOT NULL COMMENT 'JSON',
    status      LONGTEXT     NOT NULL COMMENT 'JSON',
    observed_at DATETIME(6)  NOT NULL COMMENT 'UTC',
    PRIMARY KEY (uid),
    KEY logwise_objects_by_name (namespace, name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
