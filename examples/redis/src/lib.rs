//! Support for crashing jobs on a real Redis: a server for the tests, or the one in `REDIS_URL`, and a connection
//! whose commands are calls for the harness.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Client, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use retryproof::External;
use retryproof::external::ExternalFault;

/// A server. If it was started here, it ends with this process and leaves nothing behind.
#[derive(Debug)]
pub struct Server {
    client: Client,
    _keeper: Option<Child>,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// The server of this process's tests. If there is neither `REDIS_URL` nor Redis, prints a line and returns
    /// `None`.
    ///
    /// # Panics
    /// If it cannot be started, or if there is no server and `RETRYPROOF_NO_SKIP` is set.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        let start = || {
            if let Ok(url) = std::env::var("REDIS_URL") {
                let client = Client::open(url)
                    .unwrap_or_else(|error| panic!("REDIS_URL is not a URL of Redis: {error}"));
                return Some(Self { client, _keeper: None });
            }
            let own = Self::of_its_own();
            if own.is_none() {
                let skipped = "SKIPPED: no Redis here; install it (redis-server), or set REDIS_URL";
                assert!(
                    std::env::var_os("RETRYPROOF_NO_SKIP").is_none_or(|value| value.is_empty()),
                    "{skipped}"
                );
                let _ = writeln!(io::stderr(), "{skipped}");
            }
            own
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// Starts a separate server. Returns `None` if Redis is not installed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn of_its_own() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let binary = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
        let binary = binary.into_iter().find(|binary| binary.is_file())?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("retryproof-redis-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let mut keeper = keep(&binary, &directory);
        let socket = directory.join("socket");
        let client =
            Client::open(format!("redis+unix://{}", socket.display())).expect("a path is an address");
        for _ in 0..2_000 {
            if client.get_connection().is_ok() {
                return Some(Self { client, _keeper: Some(keeper) });
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = keeper.kill();
        let _ = keeper.wait();
        panic!("{} does not answer at {}", binary.display(), socket.display())
    }

    /// Opens a blocking connection for the test itself.
    ///
    /// # Panics
    /// If the server does not accept the connection.
    pub fn connect(&self) -> redis::Connection {
        self.client.get_connection().unwrap_or_else(|error| panic!("Redis cannot be reached: {error}"))
    }

    /// Ends the server, as if it had died.
    ///
    /// # Panics
    /// If it cannot be reached any more.
    pub fn vanish(&self) {
        // The server does not answer.
        let _: RedisResult<()> = redis::cmd("SHUTDOWN").arg("NOSAVE").query(&mut self.connect());
    }

    /// The client for connecting to it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }
}

/// Runs the server until its input ends, which happens when this process ends, then cleans up.
fn keep(binary: &PathBuf, directory: &PathBuf) -> Child {
    let script = "cd \"$2\" && \"$1\" --port 0 --unixsocket \"$2/socket\" --save '' --appendonly no > log & server=$!; \
        cat > /dev/null; kill $server; wait $server; rm -rf \"$2\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(binary).arg(directory).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().expect("there is a shell")
}

/// A connection that runs commands like redis's own, each of which is a call for the harness. It connects at the
/// first command.
pub struct Connection {
    client: Client,
    inner: Option<redis::aio::MultiplexedConnection>,
    external: External,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("outside", &self.external).finish_non_exhaustive()
    }
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), inner: self.inner.clone(), external: self.external.clone() }
    }
}

fn lost<T>(fault: ExternalFault) -> RedisResult<T> {
    Err(RedisError::from(io::Error::from(fault)))
}

impl Connection {
    /// Makes a connection that connects when it is needed.
    pub fn new(client: Client, external: External) -> Self {
        Self { client, inner: None, external }
    }

    async fn inner<'c>(
        client: &Client,
        inner: &'c mut Option<redis::aio::MultiplexedConnection>,
    ) -> RedisResult<&'c mut redis::aio::MultiplexedConnection> {
        match inner {
            Some(inner) => Ok(inner),
            none => Ok(none.insert(client.get_multiplexed_async_connection().await?)),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let name = match command.args_iter().next() {
            Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).to_lowercase(),
            _ => "command".to_owned(),
        };
        let Self { client, inner, external } = self;
        let reads = ["get", "exists", "ttl", "pttl", "mget"].contains(&name.as_str());
        let call = async move { Self::inner(client, inner).await?.req_packed_command(command).await };
        let call = external.call(name, call).on_fault(lost);
        Box::pin(if reads { call.read_only() } else { call })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let Self { client, inner, external } = self;
        let call = async move {
            Self::inner(client, inner).await?.req_packed_commands(pipeline, offset, count).await
        };
        Box::pin(external.call("pipeline", call).on_fault(lost))
    }

    fn get_db(&self) -> i64 {
        0
    }
}
