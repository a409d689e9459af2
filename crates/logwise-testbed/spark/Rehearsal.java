package io.logwise.testbed;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.jar.JarFile;
import java.util.stream.Collectors;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.Trigger;

/**
 * Runs the streaming job's transformation once on local files, and loads the classes that masters,
 * workers, drivers and executors need beyond it, so that a Java run with {@code -XX:ArchiveClassesAtExit}
 * leaves an archive of loaded classes from which every later start is faster.
 *
 * <p>Argument: an empty folder for its files.
 */
public final class Rehearsal {
  private static final String[] PACKAGES = {
    "com/amazonaws/",
    "org/apache/hadoop/fs/s3a/",
    "org/apache/http/",
    "org/apache/kafka/clients/",
    "org/apache/kafka/common/",
    "org/apache/spark/deploy/",
    "org/apache/spark/executor/",
    "org/apache/spark/kafka010/",
    "org/apache/spark/network/",
    "org/apache/spark/rpc/",
    "org/apache/spark/scheduler/",
    "org/apache/spark/sql/kafka010/",
  };

  // Loaded by S3A only when it is told to use them.
  private static final String[] UNUSED = {
    "com/amazonaws/services/dynamodbv2/", "com/amazonaws/services/kms/", "com/amazonaws/services/securitytoken/",
  };

  private Rehearsal() {}

  public static void main(String[] args) throws Exception {
    Path folder = Path.of(args[0]);
    runJob(folder);
    int loaded = 0;
    for (String name : classNames()) {
      loaded += load(name) ? 1 : 0;
    }
    System.out.println("classes loaded by name: " + loaded);
  }

  private static void runJob(Path folder) throws Exception {
    Path input = Files.createDirectories(folder.resolve("input"));
    String line = "{\"service_name\":\"rehearsal\",\"timestamp\":\"2024-01-02T03:04:05.678Z\",\"message\":\"m\"}";
    Files.writeString(input.resolve("lines"), line + "\nno json\n");
    SparkSession session =
        SparkSession.builder()
            .master("local[1]")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .getOrCreate();
    StreamingQuery query =
        StreamApp.lines(
                session
                    .readStream()
                    .text(input.toString())
                    .withColumn("timestamp", functions.current_timestamp()))
            .writeStream()
            .format("parquet")
            .partitionBy("service_name", "year", "month", "day", "hour")
            .option("path", folder.resolve("logs").toString())
            .option("checkpointLocation", folder.resolve("checkpoint").toString())
            .trigger(Trigger.AvailableNow())
            .start();
    query.awaitTermination();
    session.stop();
  }

  private static List<String> classNames() throws Exception {
    List<String> names = new ArrayList<>();
    for (String jar : System.getProperty("java.class.path").split(":")) {
      if (!jar.endsWith(".jar")) {
        continue;
      }
      try (JarFile file = new JarFile(jar)) {
        names.addAll(
            file.stream()
                .map(entry -> entry.getName())
                .filter(name -> name.endsWith(".class") && wanted(name))
                .map(name -> name.substring(0, name.length() - 6).replace('/', '.'))
                .collect(Collectors.toList()));
      }
    }
    return names;
  }

  private static boolean wanted(String name) {
    return startsWithOne(name, PACKAGES) && !startsWithOne(name, UNUSED);
  }

  private static boolean startsWithOne(String name, String[] prefixes) {
    for (String prefix : prefixes) {
      if (name.startsWith(prefix)) {
        return true;
      }
    }
    return false;
  }

  // A class whose optional dependency is absent is no loss: it would not load in a server either.
  private static boolean load(String name) {
    try {
      Class.forName(name, false, Rehearsal.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException | LinkageError absent) {
      return false;
    }
  }
}
