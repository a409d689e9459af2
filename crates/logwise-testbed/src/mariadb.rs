//! One MariaDB server, and its command-line client as an independent witness.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::address::Addresses;
use crate::command::{command, output};
use crate::folder::{Folder, write_atomically};
use crate::prerequisites::find;
use crate::process::{Ending, Server, complete, probe, start};
use crate::site::Site;

/// The user that may do everything in this server.
pub const USER: &str = "logwise";
const DEADLINE: Duration = Duration::from_secs(60);
/// System users that own nothing of worth, in order of preference.
const UNPRIVILEGED: [&str; 2] = ["mysql", "nobody"];

/// Creates the system tables the first time, starts the server, returns when it answers our user.
pub async fn up(site: &Site) -> Result<()> {
    let folder = site.folder.sub("mariadb")?;
    write_client_files(site)?;
    let account = Account::choose(&folder)?;
    if !folder.join("data").is_dir() {
        initialise(&site.folder, &folder, &account).await?;
    }
    write_first_statements(site, &folder, &account)?;
    start(&site.folder, &server(site)?).await.map(drop)
}

/// The server.
pub fn server(site: &Site) -> Result<Server> {
    let folder = site.folder.path("mariadb");
    let data = folder.join("data").display().to_string();
    let mut args = vec![
        "--no-defaults".to_owned(),
        format!("--datadir={data}"),
        format!("--init-file={data}/first-statements.sql"),
    ];
    args.push(format!("--bind-address={}", site.addresses.host()));
    args.push(format!("--port={}", site.addresses.ports.mariadb));
    // A relative socket lies in the data folder: an absolute path may be longer than sockets allow.
    args.extend(
        ["--socket=mariadb.sock", "--pid-file=mariadb.pid", "--skip-name-resolve", "--innodb-buffer-pool-size=64M"]
            .map(String::from),
    );
    args.extend(["--innodb-flush-log-at-trx-commit=2", "--character-set-server=utf8mb4"].map(String::from));
    args.extend(Account::choose(&folder)?.flag());
    let bed = site.folder.clone();
    Ok(Server {
        name: "mariadb".to_owned(),
        program: find("mariadbd").unwrap_or_else(|| PathBuf::from("mariadbd")),
        args,
        env: Vec::new(),
        cwd: folder,
        ending: Ending::Terminate { seconds: 10 },
        ready_within: DEADLINE,
        ready: probe(move || {
            let bed = bed.clone();
            async move { sql(&bed, "SELECT 1").await.map(drop) }
        }),
    })
}

/// The address of the server, with our user and its password, without a schema; ends in `/`.
pub fn url(addresses: &Addresses) -> String {
    format!("mysql://{USER}:{}@{}/", addresses.password, addresses.at(addresses.ports.mariadb))
}

/// Runs SQL through MariaDB's own client and returns its rows, one per line, columns separated by tabs, without names.
pub async fn sql(folder: &Folder, query: &str) -> Result<String> {
    let mut client = command("mariadb", [format!("--defaults-file={}", folder.path("mariadb-client.cnf").display())]);
    client.args(["--batch", "--skip-column-names", "-e", query]);
    output(client, DEADLINE).await
}

/// The account under which the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Account {
    /// The caller's own.
    Own,
    /// Another one, as we are root and the server should not be.
    Other { name: String, user: u32, group: u32 },
    /// Root, as no other account can get into the folder.
    Root,
}

impl Account {
    fn choose(folder: &Path) -> Result<Account> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account::Own);
        }
        let accounts = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        let other =
            UNPRIVILEGED.iter().find_map(|name| account(&accounts, name)).filter(|_| everybody_may_enter(folder));
        Ok(other.unwrap_or(Account::Root))
    }

    fn flag(&self) -> Option<String> {
        match self {
            Account::Own => None,
            Account::Other { name, .. } => Some(format!("--user={name}")),
            Account::Root => Some("--user=root".to_owned()),
        }
    }

    fn give(&self, path: &Path) -> Result<()> {
        let Account::Other { user, group, .. } = self else {
            return Ok(());
        };
        chown(path, Some(*user), Some(*group)).with_context(|| format!("changing the owner of {}", path.display()))
    }
}

/// A line of /etc/passwd is `name:password:user:group:...`.
fn account(passwd: &str, name: &str) -> Option<Account> {
    let fields: Vec<&str> =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name))?;
    Some(Account::Other {
        name: name.to_owned(),
        user: fields.get(2)?.parse().ok()?,
        group: fields.get(3)?.parse().ok()?,
    })
}

fn everybody_may_enter(folder: &Path) -> bool {
    folder.ancestors().all(|one| fs::metadata(one).is_ok_and(|found| found.mode() & 0o001 != 0))
}

async fn initialise(bed: &Folder, folder: &Path, account: &Account) -> Result<()> {
    let part =
        tempfile::Builder::new().prefix("data.part-").tempdir_in(folder).context("creating a folder for MariaDB")?;
    account.give(part.path())?;
    let mut args =
        ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"].map(String::from).to_vec();
    args.push(format!("--datadir={}", part.path().display()));
    args.extend(account.flag());
    let program = find("mariadb-install-db").context("there is no mariadb-install-db on the path")?;
    let install = Server::once("mariadb-install", program, args, folder, DEADLINE);
    complete(bed, &install).await.context("creating MariaDB's system tables")?;
    fs::rename(part.keep(), folder.join("data")).context("moving MariaDB's data into place")
}

/// Run at each start, before the first client: our user, and no user without a password.
fn write_first_statements(site: &Site, folder: &Path, account: &Account) -> Result<()> {
    let password = &site.addresses.password;
    let text = format!(
        "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{password}';\nGRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n\
         ALTER USER root@localhost IDENTIFIED BY '{password}';\nDELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');\nFLUSH PRIVILEGES;\n"
    );
    let path = folder.join("data/first-statements.sql");
    write_atomically(&path, text.as_bytes())?;
    account.give(&path)
}

/// The client's settings, and `sql`, the client with these settings, in `bin`.
fn write_client_files(site: &Site) -> Result<()> {
    let (host, port, password) = (site.addresses.host(), site.addresses.ports.mariadb, &site.addresses.password);
    let settings = site.folder.path("mariadb-client.cnf");
    write_atomically(
        &settings,
        format!(
            "[client]\nprotocol=tcp\nhost={host}\nport={port}\nuser={USER}\npassword={password}\ndefault-character-set=utf8mb4\n"
        )
        .as_bytes(),
    )?;
    let program = site.folder.sub("bin")?.join("sql");
    write_atomically(
        &program,
        format!("#!/bin/sh\nexec mariadb --defaults-file='{}' \"$@\"\n", settings.display()).as_bytes(),
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("making `sql` executable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobodyelse:x:9:9::/:\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(
            account(passwd, "nobody"),
            Some(Account::Other { name: "nobody".into(), user: 65534, group: 65534 })
        );
        assert_eq!(account(passwd, "mysql"), None);
    }

    #[test]
    fn a_closed_folder_above_keeps_others_out() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!everybody_may_enter(&inner));
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(everybody_may_enter(&inner) || !everybody_may_enter(root.path().parent().unwrap()));
    }
}
