package io.logwise.testbed;

/** A driver that does nothing until it is killed, for tests that are about drivers and need no query. */
public final class Idle {
  private Idle() {}

  public static void main(String[] args) throws InterruptedException {
    System.out.println("idle");
    Thread.currentThread().join();
  }
}
