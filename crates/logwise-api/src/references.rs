//! References to Secrets. Each lies in the namespace of the object that refers: there is no field for another one.

use crate::schema::check;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// `metadata.name` of the Secret, 1 to 253 characters. No default.
    #[schemars(length(min = 1, max = 253), transform = secret_name)]
    pub name: String,
}

/// One key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaSecretRef {
    /// `metadata.name` of the Secret, 1 to 253 characters. No default.
    #[schemars(length(min = 1, max = 253), transform = secret_name)]
    pub name: String,
    /// Key of the Secret that holds the certificates, in PEM form. Default: ca.crt.
    #[serde(default = "ca_key")]
    #[schemars(
        length(min = 1, max = 253),
        transform = check(
            "self.matches('^[-._a-zA-Z0-9]+$')",
            "must be a key of a Secret: letters, digits, '-', '_' and '.'"
        )
    )]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".into()
}

/// What holds for names of Secrets.
fn secret_name(schema: &mut Schema) {
    check(
        "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
        "must be the name of a Secret: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    )(schema);
}
