//! Which servers a command is about.

use std::collections::BTreeSet;

use clap::ValueEnum;

/// A choice on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// The Kubernetes control plane.
    Kube,
    /// One Kafka broker.
    Kafka,
    /// The AWS stand-in.
    Aws,
    /// MariaDB.
    Sql,
    /// A Spark master, and a worker per instance of the AWS stand-in.
    Spark,
    /// MinIO, a second S3.
    Minio,
    /// Ceph, a third S3, whose days last ten seconds.
    Ceph,
    /// Everything but Ceph.
    All,
}

/// A part of a bed that is prepared and started as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The Kubernetes control plane.
    Kube,
    /// One Kafka broker.
    Kafka,
    /// The AWS stand-in.
    Aws,
    /// MariaDB.
    Sql,
    /// Spark.
    Spark,
    /// MinIO.
    Minio,
    /// Ceph.
    Ceph,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 7] = [Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark, Part::Minio, Part::Ceph];

    /// Every part but the one that only `make prove` needs.
    pub const USUAL: [Part; 6] = [Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark, Part::Minio];

    /// What the demo is made of.
    pub const DEMO: [Part; 5] = [Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark];

    /// The word for it on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Part::Kube => "kube",
            Part::Kafka => "kafka",
            Part::Aws => "aws",
            Part::Sql => "sql",
            Part::Spark => "spark",
            Part::Minio => "minio",
            Part::Ceph => "ceph",
        }
    }
}

impl Part {
    /// The names of its servers, the one that speaks for the part first.
    pub fn servers(self) -> &'static [&'static str] {
        match self {
            Part::Kube => &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"],
            Part::Kafka => &["kafka"],
            Part::Aws => &["aws"],
            Part::Sql => &["mariadb"],
            Part::Spark => &["spark-master", "spark-supervisor"],
            Part::Minio => &["minio"],
            Part::Ceph => &["radosgw", "ceph-osd", "ceph-mon"],
        }
    }
}

/// The parts that the profiles name; none named is all but Ceph.
pub fn parts(profiles: &[Profile]) -> BTreeSet<Part> {
    if profiles.is_empty() {
        return Part::USUAL.into();
    }
    profiles.iter().flat_map(|profile| parts_of(*profile)).copied().collect()
}

fn parts_of(profile: Profile) -> &'static [Part] {
    match profile {
        Profile::Kube => &[Part::Kube],
        Profile::Kafka => &[Part::Kafka],
        Profile::Aws => &[Part::Aws],
        Profile::Sql => &[Part::Sql],
        // The workers follow the instances of the stand-in.
        Profile::Spark => &[Part::Aws, Part::Spark],
        Profile::Minio => &[Part::Minio],
        Profile::Ceph => &[Part::Ceph],
        Profile::All => &Part::USUAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_profile_is_everything_but_ceph_and_spark_brings_the_stand_in() {
        assert_eq!(parts(&[]), BTreeSet::from(Part::USUAL));
        assert_eq!(parts(&[Profile::All]), BTreeSet::from(Part::USUAL));
        assert_eq!(parts(&[Profile::All, Profile::Ceph]), BTreeSet::from(Part::ALL));
        assert_eq!(parts(&[Profile::Spark]), BTreeSet::from([Part::Aws, Part::Spark]));
        assert_eq!(parts(&[Profile::Sql, Profile::Kube, Profile::Sql]), BTreeSet::from([Part::Kube, Part::Sql]));
    }
}
