//! The AWS stand-in: a Python program in this crate's folder `aws`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::folder::write_atomically;
use crate::http;
use crate::process::{Ending, Server, Start, probe, start};
use crate::site::Site;
use crate::workspace::crate_path;

/// The region in which everything of a bed lies.
pub const REGION: &str = "ap-south-1";
/// Credentials that open nothing anywhere.
pub const ACCESS_KEY: &str = "AKIALOGWISETESTBED00";
/// See [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "logwise-testbed-not-a-secret";
/// The account of the stand-in.
pub const ACCOUNT: &str = "123456789012";

/// Starts the stand-in and returns when it is ready.
pub async fn up(site: &Site) -> Result<()> {
    write_witness(site)?;
    let server = server(site)?;
    let had_one = crate::state::load(&site.folder)?.servers.contains_key(&server.name);
    if start(&site.folder, &server).await? == Start::Started && had_one {
        site.progress.say("aws: the stand-in had ended and was started again; it keeps its state in memory, so groups and buckets are gone");
    }
    Ok(())
}

/// The stand-in.
pub fn server(site: &Site) -> Result<Server> {
    let endpoint = endpoint(site);
    let (host, port) = (site.addresses.host().to_string(), site.addresses.ports.aws.to_string());
    let args =
        ["-m", "stand_in", "--host", &host, "--port", &port, "--subnet", &site.addresses.subnet(), "--region", REGION];
    Ok(Server {
        name: "aws".to_owned(),
        program: site.tools.python.join("bin/python"),
        args: args.map(String::from).to_vec(),
        env: environment(),
        cwd: crate_path("aws")?,
        ending: Ending::Terminate { seconds: 3 },
        ready_within: Duration::from_secs(90),
        ready: probe(move || {
            let url = format!("{endpoint}/_ready");
            async move {
                let status = http::client()?.get(&url).send().await.context("asking the stand-in")?.status();
                if status.is_success() { Ok(()) } else { bail!("the stand-in answers {status}") }
            }
        }),
    })
}

/// Python writes no compiled files beside the sources and holds no output back.
pub fn environment() -> Vec<(String, String)> {
    [("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONUNBUFFERED", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// Where the stand-in answers, for every AWS service and for its control interface.
pub fn endpoint(site: &Site) -> String {
    format!("http://{}", site.addresses.at(site.addresses.ports.aws))
}

/// `witness` in `bin`: boto3 in a process of its own reads what the stand-in holds.
fn write_witness(site: &Site) -> Result<()> {
    let text = format!(
        "#!/bin/sh\nexport AWS_ENDPOINT_URL='{}' AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} PYTHONDONTWRITEBYTECODE=1\n\
         exec '{}' '{}' \"$@\"\n",
        endpoint(site),
        site.tools.python.join("bin/python").display(),
        crate_path("aws")?.join("witness.py").display(),
    );
    let path = site.folder.sub("bin")?.join("witness");
    write_atomically(&path, text.as_bytes())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("making `witness` executable")
}
