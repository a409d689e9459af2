//! O6: words that must be nowhere, looked for everywhere.

use std::fmt;
use std::fs;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::verdict;
use crate::install::NAMESPACE;
use crate::operator::Operator;
use crate::world::World;

/// Shorter words are found by chance.
const SHORTEST: usize = 8;

/// A canary at a place where it must not be. Its text does not repeat the canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Which of the canaries, from 1.
    pub canary: usize,
    /// Log, object, table, ...
    pub place: String,
    /// Line of the place, from 1.
    pub line: usize,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "canary {} in {}, line {}", self.canary, self.place, self.line)
    }
}

/// Words to look for: as they are, in base64, and as they are written in addresses.
pub struct Canaries(Vec<Vec<String>>);

impl Canaries {
    /// Errors when a word is too short to be found only on purpose.
    pub fn new(words: &[&str]) -> Result<Canaries> {
        for word in words {
            ensure!(word.len() >= SHORTEST, "a canary of {} characters is found by chance", word.len());
        }
        Ok(Canaries(words.iter().map(|word| forms(word)).collect()))
    }

    /// Looks at the logs and metrics of these operators, the world's objects and events (Secrets aside), ConfigMaps
    /// of the operator's namespace, the world's SQLite files and its schema in MariaDB. The metrics of an operator
    /// that does not run are left out.
    pub async fn scan(&self, world: &World, operators: &[&Operator]) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        for operator in operators {
            hits.extend(self.find(&format!("the log of {}", operator.listen), operator.log()?.as_bytes()));
            if operator.alive() {
                let metrics = operator.metrics().await?;
                hits.extend(self.find(&format!("the metrics of {}", operator.listen), metrics.as_bytes()));
            }
        }
        hits.extend(self.in_objects(world).await?);
        hits.extend(self.in_sqlite(world)?);
        hits.extend(self.in_schema(world).await?);
        Ok(hits)
    }

    /// As [`Canaries::scan`]; errors when anything is found.
    pub async fn nowhere(&self, world: &World, operators: &[&Operator]) -> Result<()> {
        let hits = self.scan(world, operators).await?;
        verdict("secrets were written down", &hits.iter().map(Hit::to_string).collect::<Vec<_>>())
    }

    /// Where the canaries are in a text.
    pub fn find(&self, place: &str, text: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            for (canary, forms) in self.0.iter().enumerate() {
                let holds = |form: &String| line.windows(form.len()).any(|window| window == form.as_bytes());
                if forms.iter().any(holds) {
                    hits.push(Hit { canary: canary + 1, place: place.to_owned(), line: number + 1 });
                }
            }
        }
        hits
    }

    async fn in_objects(&self, world: &World) -> Result<Vec<Hit>> {
        let kinds = world.kubectl(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"]).await?;
        let kinds: Vec<&str> = kinds.lines().filter(|kind| *kind != "secrets").collect();
        ensure!(kinds.contains(&"events") && kinds.contains(&"configmaps"), "kubectl names only {kinds:?}");
        let own = world.kubectl(&["get", &kinds.join(","), "-o", "yaml", "--show-managed-fields"]).await?;
        let mut hits = self.find("the objects of the namespace", own.as_bytes());
        let maps =
            world.bed.kubectl(&["-n", NAMESPACE, "get", "configmaps,events", "-o", "yaml", "--ignore-not-found"], None);
        hits.extend(self.find(&format!("ConfigMaps and events of {NAMESPACE}"), maps.await?.as_bytes()));
        Ok(hits)
    }

    fn in_sqlite(&self, world: &World) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        let home = world.bed.folder.sub(&format!("worlds/{}", world.id))?;
        for entry in fs::read_dir(&home).with_context(|| format!("listing {}", home.display()))? {
            let path = entry.context("listing a world's files")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Configuration and kubeconfig hold secrets by their nature.
            if path.is_file() && name.contains(".db") {
                let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                hits.extend(self.find(&name, &bytes));
            }
        }
        Ok(hits)
    }

    async fn in_schema(&self, world: &World) -> Result<Vec<Hit>> {
        let schema = &world.schema;
        let tables = format!("SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'");
        let mut hits = Vec::new();
        for table in world.bed.query(&tables).await?.lines() {
            let rows = world.bed.query(&format!("SELECT * FROM `{schema}`.`{table}`")).await?;
            hits.extend(self.find(&format!("table {table}"), rows.as_bytes()));
        }
        Ok(hits)
    }
}

fn forms(word: &str) -> Vec<String> {
    let letter = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    let mut forms = vec![word.to_owned(), STANDARD.encode(word), word.bytes().map(letter).collect()];
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_in_each_form_and_its_line_named() {
        let canaries = Canaries::new(&["other-canary", "pa:ss/word"]).unwrap();
        let text = "nothing\nuser:pa:ss/word@host\ncGE6c3Mvd29yZA==\nmysql://u:pa%3Ass%2Fword@h\n";
        let hits = canaries.find("a log", text.as_bytes());
        assert_eq!(hits.iter().map(|hit| (hit.canary, hit.line)).collect::<Vec<_>>(), [(2, 2), (2, 3), (2, 4)]);
        assert_eq!(hits[0].to_string(), "canary 2 in a log, line 2");
    }

    #[test]
    fn a_short_canary_is_refused() {
        assert!(Canaries::new(&["abc"]).is_err());
    }
}
