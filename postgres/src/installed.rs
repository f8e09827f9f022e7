//! A PostgreSQL server from the installed programs, in a temporary directory. It ends with this process, however that ends.

use std::env;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static STARTED: AtomicU32 = AtomicU32::new(0);

/// The variable with the folder of PostgreSQL's programs, for those who have more than one version.
const FOLDER: &str = "RETRYPROOF_POSTGRES_BIN";

/// The user of the server if the tests run as root, which PostgreSQL rejects: `nobody`.
const NOBODY: u32 = 65_534;

const SETTINGS: &str = "
    listen_addresses = ''
    unix_socket_permissions = 0700
    fsync = off
    full_page_writes = off
    synchronous_commit = off
    wal_level = minimal
    max_wal_senders = 0
    checkpoint_timeout = 1h
    autovacuum = off
    jit = off
    track_counts = off
    shared_buffers = 32MB
    log_min_messages = fatal
";

/// See the module.
#[derive(Debug)]
pub(crate) struct InstalledServer {
    binaries: PathBuf,
    /// The directory of its socket.
    pub(crate) directory: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
    /// Ends the server when its input ends, which happens when this process ends for any reason.
    keeper: Child,
}

impl InstalledServer {
    /// Starts a server with these settings besides those that make it fast, and with the environment that `prepare` makes
    /// for its directory. Returns `None` if PostgreSQL is not installed.
    ///
    /// # Panics
    /// If it does not start.
    pub(crate) fn start(
        settings: &str,
        prepare: impl FnOnce(&Path) -> Vec<(&'static str, PathBuf)>,
    ) -> Option<Self> {
        let binaries = binaries()?;
        let directory = new_directory();
        if is_root() {
            lchown(&directory, Some(NOBODY), Some(NOBODY)).expect("root may give directories away");
        }
        let data = directory.join("data");
        let keeper = keep(&binaries, &directory);
        let mut initdb = command(&binaries.join("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ]);
        said_well("initdb", initdb.arg(&data).output());
        let settings = format!("{SETTINGS}{settings}\nunix_socket_directories = '{}'\n", directory.display());
        let mut file = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf"));
        let written = file.as_mut().map(|file| file.write_all(settings.as_bytes()));
        written.expect("initdb writes a configuration").expect("it can be written to");
        let environment = prepare(&directory);
        let server = Self { binaries, directory, environment, keeper };
        server.control("start");
        Some(server)
    }

    /// Starts the server, or stops it immediately, as if the machine had failed.
    ///
    /// # Panics
    /// If `pg_ctl` fails.
    pub(crate) fn control(&self, action: &str) {
        let mut ctl = command(&self.binaries.join("pg_ctl"));
        ctl.args([action, "--silent", "--wait", "--mode=immediate", "-D"]).arg(self.directory.join("data"));
        ctl.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Its output stays open as long as the server runs.
        ctl.arg("-l").arg(self.directory.join("log"));
        ctl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let has_succeeded = ctl.status().is_ok_and(|status| status.success());
        let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        assert!(has_succeeded, "PostgreSQL does not {action}: {}", log());
    }
}

impl Drop for InstalledServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Makes a directory that nobody else has made or can look into.
fn new_directory() -> PathBuf {
    loop {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("retryproof-wire-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return directory,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{} cannot be made: {error}", directory.display()),
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
    command.current_dir(env::temp_dir());
    command
}

fn said_well(what: &str, output: std::io::Result<Output>) {
    let output = output.unwrap_or_else(|error| panic!("{what} cannot be run: {error}"));
    assert!(output.status.success(), "{what} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// The folder with the programs: the newest of Debian's, one in `PATH`, or what `pg_config` says. The variable replaces
/// all of them.
pub(crate) fn binaries() -> Option<PathBuf> {
    let has_programs = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file();
    if let Some(folder) = env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
        return Some(PathBuf::from(folder)).filter(has_programs);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    let number = |path: &PathBuf| -> Option<u32> {
        path.parent()?.file_name()?.to_str()?.split('.').next()?.parse().ok()
    };
    found.sort_by_key(number);
    found.reverse();
    let path = env::var_os("PATH").unwrap_or_default();
    found.extend(env::split_paths(&path));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output() {
        found.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    found.into_iter().find(has_programs)
}
