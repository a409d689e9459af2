//! A MariaDB server of one test, which it may kill and freeze.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", &user()])
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            .output()
            .expect(
                "mariadb-install-db does not start: install the packages mariadb-server-core and mariadb-client-core",
            );
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = spawn(&folder, port);
        let mut server = Self { folder, port, process };
        server.wait().await;
        server
    }

    /// Without a schema.
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/", self.port)
    }

    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.process = spawn(&self.folder, self.port);
        self.wait().await;
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    async fn wait(&mut self) {
        use sqlx::ConnectOptions as _;
        let options: sqlx::mysql::MySqlConnectOptions = self.url().parse().unwrap();
        let start = Instant::now();
        while let Err(error) = options.connect().await {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(self.process.try_wait().unwrap().is_none(), "the server ended: {}", log());
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not answer: {error}\n{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn user() -> String {
    // The server refuses to run as root unless it is told so.
    if geteuid().is_root() {
        "--user=root".to_owned()
    } else {
        format!("--user={}", std::env::var("USER").unwrap_or_else(|_| "mysql".into()))
    }
}

fn spawn(folder: &tempfile::TempDir, port: u16) -> Child {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let log = std::fs::File::options().create(true).append(true).open(path("log")).unwrap();
    Command::new("mariadbd")
        .args([
            "--no-defaults",
            "--skip-grant-tables",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=64M",
            &user(),
        ])
        .arg(format!("--datadir={}", path("data")))
        .arg(format!("--socket={}", path("socket")))
        .arg(format!("--pid-file={}", path("pid")))
        .arg(format!("--port={port}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("mariadbd does not start: install the package mariadb-server-core")
}
