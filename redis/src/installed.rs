//! A server from the installed program, in a temporary directory. It ends with this process, however that ends.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::address::Address;
use crate::clock::ServerClock;
use crate::upstream::Upstream;

static STARTED: AtomicU32 = AtomicU32::new(0);

/// The variable with the path of the program, for those who have more than one version.
const PROGRAM: &str = "RETRYPROOF_REDIS_BIN";
/// The looks at whether the server has started, and the real time between them.
const LOOKS: u32 = 5_000;
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until its input ends, then ends the server and cleans up, because a static is never dropped, and a test that is
/// killed drops nothing.
const SCRIPT: &str = r#"
cd "$2"
{
    env $3 "$1" --port 0 --unixsocket "$2/socket" --unixsocketperm 700 --dir "$2" --save '' --appendonly no > log 2>&1 &
    echo $! > pid
    wait $!
    : > ended
} &
cat > /dev/null
kill -9 $(cat pid)
wait
rm -rf "$2"
"#;

/// See the module.
#[derive(Debug)]
pub(crate) struct InstalledServer {
    pub(crate) address: Address,
    /// Without one, the server sees the real time.
    pub(crate) clock: Option<ServerClock>,
    keeper: Child,
}

/// The installed program.
pub(crate) fn program() -> Option<PathBuf> {
    if let Some(program) = env::var_os(PROGRAM).filter(|program| !program.is_empty()) {
        return Some(PathBuf::from(program)).filter(|program| program.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    let mut programs = ["redis-server", "valkey-server"]
        .into_iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    programs.find(|program| program.is_file())
}

impl InstalledServer {
    /// Starts a server.
    ///
    /// # Errors
    /// With the reason, if it does not start.
    pub(crate) fn start(program: &Path) -> Result<Self, String> {
        let directory = new_directory()?;
        let installed = ServerClock::install(&directory);
        let installed = installed.map_err(|error| format!("the clock cannot be made: {error}"))?;
        let variables = installed.as_ref().map_or(String::new(), |(_, paths)| {
            format!("LD_PRELOAD={} RETRYPROOF_CLOCK={}", paths.library.display(), paths.file.display())
        });
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(program).arg(&directory).arg(variables);
        // Ctrl-C is meant for the tests.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let keeper = shell.spawn().map_err(|error| format!("there is no shell: {error}"))?;
        let address = Address::socket(directory.join("socket"));
        let server = Self { address, clock: installed.map(|(clock, _)| clock), keeper };
        for _ in 0..LOOKS {
            if Upstream::connect(&server.address).is_ok() {
                return Ok(server);
            }
            if directory.join("ended").exists() {
                break;
            }
            std::thread::park_timeout(PAUSE);
        }
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        Err(format!("{} does not start: {}", program.display(), log.trim()))
    }
}

impl Drop for InstalledServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Makes a directory that nobody else has made or can look into.
fn new_directory() -> Result<PathBuf, String> {
    loop {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("retryproof-redis-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("{} cannot be made: {error}", directory.display())),
        }
    }
}
