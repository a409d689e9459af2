//! The test bed: real servers on loopback addresses, started for tests and for the demo.
//!
//! The binary `logwise-testbed` prepares, starts and ends them; tests attach to a running bed through
//! [`bed`], get a corner of their own through [`world`] and run the operator through [`operator`].
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod audit;
pub mod aws;
pub mod bed;
pub mod brokers;
pub mod cache;
pub mod ceph;
pub mod ceph_install;
pub mod certificates;
pub mod cli;
pub mod clock;
pub mod command;
pub mod crash;
pub mod demo;
pub mod environment;
pub mod exec;
pub mod fake_master;
pub mod folder;
pub(crate) mod home;
pub mod http;
pub mod install;
pub mod kafka;
pub mod kubernetes;
pub(crate) mod lease;
pub mod load;
pub mod local_job;
pub mod lock;
pub mod mariadb;
pub mod minio;
pub mod operator;
pub mod oracles;
pub mod prerequisites;
pub mod proc;
pub mod process;
pub mod profile;
pub mod progress;
pub mod proxy;
pub mod s3;
pub mod shipper;
pub mod site;
pub mod source;
pub mod spark;
pub mod spark_cluster;
pub mod spark_install;
pub mod stand_in;
pub mod state;
pub mod stays;
pub mod stream;
pub mod supervisor;
pub mod tools;
pub mod topics;
pub mod up;
pub mod versions;
pub mod workspace;
pub mod world;
