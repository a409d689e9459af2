package io.logwise.testbed;

import static org.apache.spark.sql.functions.coalesce;
import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.date_format;
import static org.apache.spark.sql.functions.from_json;
import static org.apache.spark.sql.functions.length;
import static org.apache.spark.sql.functions.lit;
import static org.apache.spark.sql.functions.not;
import static org.apache.spark.sql.functions.trim;
import static org.apache.spark.sql.functions.when;

import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import org.apache.hadoop.fs.Path;
import org.apache.spark.api.java.function.FilterFunction;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.StreamingQueryProgress;
import org.apache.spark.sql.streaming.Trigger;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.util.SerializableConfiguration;

/**
 * The test bed's streaming job: log lines from every Kafka topic that matches a pattern, written as
 * parquet under {@code service_name=/year=/month=/day=/hour=}.
 *
 * <p>Arguments are {@code key=value}: bootstrap, pattern, output, checkpoint, query, trigger, maxOffsets.
 * A value that is no JSON object, or names no usable service, goes to the service "unknown".
 *
 * <p>For tests there are two more: {@code pause} names an object, and while that exists a batch that has
 * something to read does not come to its end; {@code failAt} makes the program fail, at {@code start} or
 * once the batch of that number is committed.
 */
public final class StreamApp {
  // A longer name would make an S3 key beyond 1024 bytes, and the failed write would end the query.
  private static final int LONGEST_SERVICE_NAME = 128;

  private StreamApp() {}

  public static void main(String[] args) throws Exception {
    Map<String, String> settings = settings(args);
    String failAt = settings.get("failAt");
    if ("start".equals(failAt)) {
      throw new IllegalStateException("this driver was told to fail at its start");
    }
    SparkSession session = SparkSession.builder().getOrCreate();
    Dataset<Row> records =
        session
            .readStream()
            .format("kafka")
            .option("kafka.bootstrap.servers", wanted(settings, "bootstrap"))
            .option("subscribePattern", wanted(settings, "pattern"))
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", wanted(settings, "maxOffsets"))
            .option("failOnDataLoss", "false")
            .load();
    if (settings.containsKey("pause")) {
      records = records.filter(new Gate(session, wanted(settings, "pause")));
    }
    StreamingQuery query =
        lines(records)
            .writeStream()
            .queryName(wanted(settings, "query"))
            .format("parquet")
            .partitionBy("service_name", "year", "month", "day", "hour")
            .option("path", wanted(settings, "output"))
            .option("checkpointLocation", wanted(settings, "checkpoint"))
            .trigger(Trigger.ProcessingTime(wanted(settings, "trigger")))
            .start();
    System.out.println("query " + query.id() + " run " + query.runId());
    if (failAt == null) {
      query.awaitTermination();
      return;
    }
    while (!query.awaitTermination(200)) {
      StreamingQueryProgress progress = query.lastProgress();
      if (progress != null && progress.batchId() >= Long.parseLong(failAt)) {
        throw new IllegalStateException("this driver was told to fail after batch " + failAt);
      }
    }
  }

  /** Lets every record pass, but none while an object exists. */
  private static final class Gate implements FilterFunction<Row> {
    private static final long serialVersionUID = 1L;
    private static final long LOOK_MILLIS = 500;

    private final SerializableConfiguration configuration;
    private final String object;
    // Of one task: each has a copy of its own, which looks before its first record.
    private transient boolean open;

    Gate(SparkSession session, String object) {
      this.configuration =
          new SerializableConfiguration(session.sparkContext().hadoopConfiguration());
      this.object = object;
    }

    @Override
    public boolean call(Row record) throws IOException, InterruptedException {
      while (!open) {
        Path path = new Path(object);
        open = !path.getFileSystem(configuration.value()).exists(path);
        if (!open) {
          Thread.sleep(LOOK_MILLIS);
        }
      }
      return true;
    }
  }

  /** Kafka records as rows of the sink; total: no value makes it fail. */
  static Dataset<Row> lines(Dataset<Row> records) {
    StructType shape =
        new StructType()
            .add("service_name", "string")
            .add("timestamp", "string")
            .add("level", "string")
            .add("message", "string");
    Column text = col("value").cast("string");
    Dataset<Row> parsed =
        records.select(
            text.as("text"), col("timestamp").as("received"), from_json(text, shape).as("line"));
    Column name = trim(col("line.service_name"));
    Column usable =
        length(name)
            .between(1, LONGEST_SERVICE_NAME)
            .and(not(name.startsWith("{")))
            .and(not(name.startsWith("[")));
    Column time = coalesce(col("line.timestamp").cast("timestamp"), col("received"));
    return parsed
        .select(
            when(usable, name).otherwise(lit("unknown")).as("service_name"),
            time.as("time"),
            col("line.level").as("level"),
            coalesce(col("line.message"), col("text")).as("message"))
        .select(
            col("service_name"),
            date_format(col("time"), "yyyy").as("year"),
            date_format(col("time"), "MM").as("month"),
            date_format(col("time"), "dd").as("day"),
            date_format(col("time"), "HH").as("hour"),
            date_format(col("time"), "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").as("timestamp"),
            col("level"),
            col("message"));
  }

  private static Map<String, String> settings(String[] args) {
    Map<String, String> settings = new HashMap<>();
    for (String arg : args) {
      int sign = arg.indexOf('=');
      if (sign < 1) {
        throw new IllegalArgumentException("argument must be key=value, is: " + arg);
      }
      settings.put(arg.substring(0, sign), arg.substring(sign + 1));
    }
    return settings;
  }

  private static String wanted(Map<String, String> settings, String key) {
    String value = settings.get(key);
    if (value == null || value.isEmpty()) {
      throw new IllegalArgumentException("argument " + key + "=... is missing");
    }
    return value;
  }
}
