package io.logwise.testbed;

import java.util.List;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;

/**
 * Prints service and message of every row of the streaming job's table, one row per line. The sink's own log says which
 * files make the table, so that what an unfinished batch left behind does not count. Files that have expired are passed
 * over.
 *
 * <p>Argument: the folder of the table. Run from its source: {@code java -cp ... Rows.java FOLDER}.
 */
public final class Rows {
  private Rows() {}

  public static void main(String[] args) {
    SparkSession session = SparkSession.builder().getOrCreate();
    List<Row> rows =
        session
            .read()
            // Else Spark would look for the columns in one of the files, which may be gone.
            .schema("message string, service_name string")
            .option("ignoreMissingFiles", "true")
            .parquet(args[0])
            .select("service_name", "message")
            .collectAsList();
    for (Row row : rows) {
      System.out.println(row.getString(0) + "\t" + row.getString(1));
    }
    session.stop();
  }
}
