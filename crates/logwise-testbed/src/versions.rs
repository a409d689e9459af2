//! The versions of the servers, read from where they are pinned.

use std::fs;

use anyhow::{Context, Result};

use crate::ceph;
use crate::spark;
use crate::tools::{MINIO, module_version};
use crate::workspace::crate_path;

const MODULES: [(&str, &str); 6] = [
    ("Kubernetes", "k8s.io/kubernetes"),
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kwok", "sigs.k8s.io/kwok"),
    ("helm", "helm.sh/helm/v3"),
    ("kubeconform", "github.com/yannh/kubeconform"),
    ("kstatus", "github.com/fluxcd/cli-utils"),
];

/// One line per server or tool: name, version, file that pins it.
pub fn lines() -> Result<Vec<String>> {
    let read = |name: &str| -> Result<String> {
        fs::read_to_string(crate_path(name)?).with_context(|| format!("reading {name}"))
    };
    let (go_mod, kafka, python) = (read("kubernetes/go.mod")?, read("kafka/pom.xml")?, read("aws/requirements.txt")?);
    let mut lines = Vec::new();
    for (name, module) in MODULES {
        lines.push(line(name, module_version(&go_mod, module), "kubernetes/go.mod")?);
    }
    lines.push(line("MinIO", module_version(&read("minio/go.mod")?, MINIO), "minio/go.mod")?);
    lines.push(line("Ceph", ceph::version(), "ceph/packages.txt")?);
    lines.push(line("Kafka", property(&kafka, "kafka.version"), "kafka/pom.xml")?);
    lines.push(line("Spark", Some(spark::version()?), "spark/pom.xml")?);
    for package in ["moto", "boto3"] {
        lines.push(line(package, requirement(&python, package), "aws/requirements.txt")?);
    }
    Ok(lines)
}

fn line(name: &str, version: Option<&str>, file: &str) -> Result<String> {
    let version = version.with_context(|| format!("{file} pins no {name}"))?;
    Ok(format!("{name:<12} {:<10} {file}", version.trim_start_matches('v')))
}

/// The text of `<name>` in a pom.xml.
fn property<'a>(pom: &'a str, name: &str) -> Option<&'a str> {
    Some(pom.split_once(&format!("<{name}>"))?.1.split_once('<')?.0.trim())
}

/// The version of a package in a requirements.txt: `name==1.2` or `name[extra]==1.2`.
fn requirement<'a>(requirements: &'a str, package: &str) -> Option<&'a str> {
    requirements.lines().find_map(|line| {
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?.trim();
        (name == package).then(|| version.split([';', ' ', '\\']).next().unwrap_or_default().trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_found_by_whole_names() {
        assert_eq!(requirement("boto3-stubs==9\nboto3==1.2.3\nmoto[server]==5.2.5 ; x\n", "boto3"), Some("1.2.3"));
        assert_eq!(requirement("moto[server]==5.2.5 ; x\n", "moto"), Some("5.2.5"));
        assert_eq!(property("<properties><kafka.version>4.1.1</kafka.version>", "kafka.version"), Some("4.1.1"));
        assert_eq!(property("", "kafka.version"), None);
    }

    #[test]
    fn the_files_pin_something() {
        let lines = lines().unwrap();
        assert!(lines.iter().any(|line| line.starts_with("Kubernetes   1.")), "{lines:?}");
    }
}
