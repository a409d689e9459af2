CREATE TABLE IF NOT EXISTS logwise_samples (
    cluster  VARCHAR(64) NOT NULL COMMENT 'digest of what identifies a Kafka cluster',
    slot     BIGINT      NOT NULL COMMENT 'the place in the ring of that cluster',
    taken_at DATETIME(6) NOT NULL COMMENT 'UTC',
    payload  MEDIUMBLOB  NOT NULL COMMENT 'compressed',
    PRIMARY KEY (cluster, slot),
    KEY logwise_samples_by_time (taken_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
