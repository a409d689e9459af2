//! The house: ARCHITECTURE.md's arrows are the manifests', and what the top level promises is there.

use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Dependencies among our own crates, from the manifests; development ones do not count.
fn from_manifests() -> Result<Arrows> {
    let mut arrows = Arrows::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().context("a name")?.to_string_lossy().into_owned();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))?;
        let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        let ours = section
            .lines()
            .filter_map(|line| line.strip_suffix(".workspace = true"))
            .filter(|name| name.starts_with("logwise-"));
        arrows.insert(name, ours.map(str::to_owned).collect());
    }
    Ok(arrows)
}

/// Lines `a --> b` of the picture.
fn from_picture(text: &str) -> Arrows {
    let mut arrows = Arrows::new();
    for line in text.lines() {
        let Some((from, to)) = line.split_once(" --> ") else { continue };
        let (from, to) = (from.trim(), to.trim());
        if from.starts_with("logwise-") && to.starts_with("logwise-") {
            arrows.entry(from.to_owned()).or_default().insert(to.to_owned());
        }
    }
    arrows
}

#[test]
fn the_picture_of_crates_is_the_one_in_the_manifests() -> Result<()> {
    let drawn = from_picture(&std::fs::read_to_string(root().join("ARCHITECTURE.md"))?);
    let mut real = from_manifests()?;
    real.retain(|_, targets| !targets.is_empty());
    ensure!(drawn == real, "ARCHITECTURE.md draws\n{drawn:#?}\nthe manifests say\n{real:#?}");
    Ok(())
}

#[test]
fn controllers_do_not_depend_on_each_other_and_the_plan_on_nobody() -> Result<()> {
    let arrows = from_manifests()?;
    let controllers = ["logwise-kafka", "logwise-spark", "logwise-s3"];
    for controller in controllers {
        let met: Vec<&String> = arrows[controller].iter().filter(|to| controllers.contains(&to.as_str())).collect();
        ensure!(met.is_empty(), "{controller} depends on {met:?}: controllers meet on the fact board");
    }
    ensure!(arrows["logwise-plan"].is_empty(), "logwise-plan depends on {:?}", arrows["logwise-plan"]);
    ensure!(arrows["logwise-api"].iter().all(|to| to == "logwise-plan"), "{:?}", arrows["logwise-api"]);
    Ok(())
}

#[test]
fn unsafe_code_is_forbidden_everywhere_but_in_one_module() -> Result<()> {
    for entry in std::fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        if folder.ends_with("logwise-kafka") {
            continue;
        }
        for file in ["src/lib.rs", "src/main.rs"].iter().map(|file| folder.join(file)).filter(|file| file.exists()) {
            let text = std::fs::read_to_string(&file)?;
            ensure!(text.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", file.display());
        }
    }
    Ok(())
}

/// Every Markdown file of the top level and of docs/.
fn documents() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [root(), root().join("docs")] {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[test]
fn links_between_documents_lead_somewhere() -> Result<()> {
    let documents = documents()?;
    ensure!(documents.len() >= 6, "{documents:?}");
    for document in documents {
        let text = std::fs::read_to_string(&document)?;
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let path = document.parent().unwrap_or(Path::new(".")).join(file);
            ensure!(path.exists(), "{} links to {target}, which does not exist", document.display());
        }
    }
    Ok(())
}
