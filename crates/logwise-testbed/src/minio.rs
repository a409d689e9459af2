//! A MinIO server: a second S3, which keeps less of a lifecycle configuration than AWS does.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::aws;
use crate::http;
use crate::process::{Ending, Server, probe, start};
use crate::site::Site;

/// The name of its process, record and log.
pub const NAME: &str = "minio";

/// Starts the server and returns when it is ready.
pub async fn up(site: &Site) -> Result<()> {
    start(&site.folder, &server(site)?).await.map(drop)
}

/// The server, with the region and the credentials of the AWS stand-in.
pub fn server(site: &Site) -> Result<Server> {
    let address = site.addresses.at(site.addresses.ports.minio);
    let path = |name: &str| site.folder.sub(&format!("minio/{name}")).map(|path| path.display().to_string());
    let args = [
        "server".to_owned(),
        path("data")?,
        "--address".to_owned(),
        address,
        // Else it looks for certificates in the home folder.
        "--certs-dir".to_owned(),
        path("certificates")?,
    ];
    let env = [
        ("MINIO_ROOT_USER", aws::ACCESS_KEY),
        ("MINIO_ROOT_PASSWORD", aws::SECRET_KEY),
        ("MINIO_SITE_REGION", aws::REGION),
        // Its pages would listen on every address, and it would ask the Internet for a newer version.
        ("MINIO_BROWSER", "off"),
        ("MINIO_UPDATE", "off"),
    ];
    let endpoint = endpoint(site);
    Ok(Server {
        name: NAME.to_owned(),
        program: site.tools.minio.join("minio"),
        args: args.to_vec(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        cwd: site.folder.sub(NAME)?,
        ending: Ending::Terminate { seconds: 5 },
        ready_within: Duration::from_secs(60),
        ready: probe(move || {
            let url = format!("{endpoint}/minio/health/cluster");
            async move {
                let status = http::client()?.get(&url).send().await.context("asking MinIO")?.status();
                if status.is_success() { Ok(()) } else { bail!("MinIO answers {status}") }
            }
        }),
    })
}

/// Where it answers.
pub fn endpoint(site: &Site) -> String {
    format!("http://{}", site.addresses.at(site.addresses.ports.minio))
}
