//! A PostgreSQL server for the tests, from the installed binaries, in a temporary directory; or the server in
//! `DATABASE_URL`.

use std::io::Write;
use std::str::FromStr;
use std::sync::OnceLock;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use self::installed::InstalledServer;

/// The same as that of the proxy.
#[path = "../../../postgres/src/installed.rs"]
mod installed;

/// A server. If it was started here, it ends with this process and leaves nothing behind.
#[derive(Debug)]
pub struct Server {
    options: PgConnectOptions,
    own: Option<InstalledServer>,
}

const SETTINGS: &str = "
    max_connections = 60
    # Longer than the harness takes to see that both wait, and shorter than it waits for this.
    deadlock_timeout = 100ms
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
        let own = InstalledServer::start(SETTINGS, |_| Vec::new())?;
        let options =
            PgConnectOptions::new().socket(&own.directory).username("postgres").database("postgres");
        Some(Self { options, own: Some(own) })
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
        self.control("stop");
    }

    /// Starts the server again.
    ///
    /// # Panics
    /// If it does not start.
    pub fn come_back(&self) {
        self.control("start");
    }

    fn control(&self, action: &str) {
        self.own.as_ref().expect("a server of our own").control(action);
    }
}
