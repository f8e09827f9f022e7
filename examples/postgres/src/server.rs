//! A PostgreSQL server for the tests, from the installed binaries, in a temporary directory; or the server in
//! `DATABASE_URL`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};

/// A server. If it was started here, it ends with this process and leaves nothing behind.
#[derive(Debug)]
pub struct Server {
    options: PgConnectOptions,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    binaries: PathBuf,
    directory: PathBuf,
    /// Ends the server when its input ends, which happens when this process ends for any reason.
    keeper: Child,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

/// The user of the server if the tests run as root, which PostgreSQL rejects: `nobody`.
const NOBODY: u32 = 65_534;

const SETTINGS: &str = "
    listen_addresses = ''
    fsync = off
    full_page_writes = off
    synchronous_commit = off
    wal_level = minimal
    max_wal_senders = 0
    checkpoint_timeout = 1h
    autovacuum = off
    jit = off
    track_counts = off
    max_connections = 60
    shared_buffers = 32MB
    # Longer than the harness takes to see that both wait, and shorter than it waits for this.
    deadlock_timeout = 100ms
    log_min_messages = fatal
";

impl Server {
    /// The server of this process's tests. If there is neither `DATABASE_URL` nor PostgreSQL, prints a line and
    /// returns `None`.
    ///
    /// # Panics
    /// If it cannot be started, or if there is no server and `RETRYPROOF_NO_SKIP` is set.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(Self::any).as_ref()
    }

    fn any() -> Option<Self> {
        if let Some(url) = std::env::var("DATABASE_URL").ok().filter(|url| url.starts_with("postgres")) {
            let options = PgConnectOptions::from_str(&url);
            let options =
                options.unwrap_or_else(|error| panic!("DATABASE_URL is no URL of a database: {error}"));
            return Some(Self { options, own: None });
        }
        let own = Self::of_its_own();
        if own.is_none() {
            let skipped = "SKIPPED: no PostgreSQL here; install it (postgresql), or set DATABASE_URL";
            assert!(std::env::var_os("RETRYPROOF_NO_SKIP").is_none_or(|value| value.is_empty()), "{skipped}");
            let _ = writeln!(std::io::stderr(), "{skipped}");
        }
        own
    }

    /// Starts a separate server. Returns `None` if PostgreSQL is not installed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn of_its_own() -> Option<Self> {
        let binaries = binaries()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("retryproof-pg-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        if is_root() {
            chown(&directory, Some(NOBODY), Some(NOBODY)).expect("root may give directories away");
        }
        let mut initdb = command(&binaries.join("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ]);
        said_well("initdb", initdb.arg(directory.join("data")).output());
        let settings = format!("{SETTINGS}\nunix_socket_directories = '{}'\n", directory.display());
        let mut file = fs::OpenOptions::new().append(true).open(directory.join("data/postgresql.conf"));
        let written = file.as_mut().map(|file| file.write_all(settings.as_bytes()));
        written.expect("initdb writes a configuration").expect("it can be written to");
        let options = PgConnectOptions::new().socket(&directory).username("postgres").database("postgres");
        let keeper = keep(&binaries, &directory);
        let server = Self { options, own: Some(Own { binaries, directory, keeper }) };
        server.ctl("start");
        Some(server)
    }

    /// The options for connecting to it.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone().disable_statement_logging()
    }

    /// Opens a connection in the current runtime.
    ///
    /// # Errors
    /// If the server does not accept the connection.
    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.options().connect().await
    }

    /// Stops the server immediately, as if the machine had failed.
    ///
    /// # Panics
    /// If the server was not started here.
    pub fn vanish(&self) {
        self.ctl("stop");
    }

    /// Starts the server again.
    ///
    /// # Panics
    /// If it does not start.
    pub fn come_back(&self) {
        self.ctl("start");
    }

    fn ctl(&self, what: &str) {
        let own = self.own.as_ref().expect("a server of our own");
        let mut ctl = command(&own.binaries.join("pg_ctl"));
        ctl.args([what, "--silent", "--wait", "--mode=immediate", "-D"]).arg(own.directory.join("data"));
        // Its output stays open as long as the server runs.
        ctl.arg("-l").arg(own.directory.join("log")).stdin(Stdio::null()).stdout(Stdio::null());
        let status = ctl.stderr(Stdio::null()).status().expect("pg_ctl can be run");
        let log = || fs::read_to_string(own.directory.join("log")).unwrap_or_default();
        assert!(status.success(), "pg_ctl {what} failed: {}", log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            drop(own.keeper.stdin.take());
            let _ = own.keeper.wait();
        }
    }
}

/// Waits until its input ends, then ends the server and cleans up, because a static is never dropped, and a test that
/// is killed drops nothing.
fn keep(binaries: &Path, directory: &Path) -> Child {
    let script =
        "cat > /dev/null; \"$1/pg_ctl\" stop --silent --mode=immediate -D \"$2/data\"; rm -rf \"$2\"";
    let mut shell = command(Path::new("sh"));
    shell.args(["-c", script, "sh"]).arg(binaries).arg(directory);
    // Ctrl-C is meant for the tests.
    shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().expect("there is a shell")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A command that does not run as root.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(std::env::temp_dir());
    command
}

fn said_well(what: &str, output: std::io::Result<Output>) {
    let output = output.unwrap_or_else(|error| panic!("{what} cannot be run: {error}"));
    assert!(output.status.success(), "{what} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// The folder with the binaries: the newest of Debian's, or one in `PATH`.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    found.sort();
    found.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    found.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}
