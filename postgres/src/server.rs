//! A PostgreSQL server for the tests of a binary: its own, from the installed programs, or the one in `DATABASE_URL`.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::clock::ServerClock;
use crate::installed::{InstalledServer, binaries};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The directory of a unix socket, and the port in its name.
    Socket(PathBuf, u16),
    Host(String, u16),
}

/// How to log in to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) target: Target,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    /// The database in the URL, through which others are made.
    pub(crate) database: String,
}

/// A server. If it was started here, it ends with this process and leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Address,
    /// Whether it was started here, so that it trusts everybody and tells who waits for a lock.
    pub(crate) is_own: bool,
    /// Without one, the server sees the real time.
    pub(crate) clock: Option<ServerClock>,
    _own: Option<InstalledServer>,
}

const SETTINGS: &str = "
    max_connections = 1000
    # A session that waits for a lock looks for a deadlock first, and then says that it waits. The door listens for that,
    # so the one that closes the circle is always the one that fails.
    deadlock_timeout = 1ms
    log_lock_waits = on
";

/// The text of a skipped test.
const NONE: &str =
    "SKIPPED: no PostgreSQL here; install it (Debian: postgresql), or set DATABASE_URL to a server's URL";

/// Reports whether there is a server: the one in `DATABASE_URL`, or an installed PostgreSQL, which is started. If there is
/// none, prints one line that says so, for a test that returns then.
///
/// # Panics
/// In CI (`CI` or `RETRYPROOF_NO_SKIP` is set), if no PostgreSQL is available: nobody notices a test that is skipped there.
pub fn is_available() -> bool {
    if url().is_some() || binaries().is_some() {
        // A scenario has a time limit, and the start of a server is not part of it.
        Server::shared();
        return true;
    }
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!is_set("CI") && !is_set("RETRYPROOF_NO_SKIP"), "{NONE}");
    let _ = writeln!(std::io::stderr(), "{NONE}");
    false
}

fn url() -> Option<String> {
    env::var("DATABASE_URL").ok().filter(|url| url.starts_with("postgres"))
}

impl Server {
    /// The server of all tests in this binary.
    ///
    /// # Panics
    /// If no PostgreSQL is installed, or if the server does not start.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| match url() {
            Some(url) => {
                let address = Address::parse(&url)
                    .unwrap_or_else(|error| panic!("DATABASE_URL is no URL of a server: {error}"));
                Self { address, is_own: false, clock: None, _own: None }
            }
            None => {
                let mut clock = None;
                let prepare = |directory: &Path| {
                    let installed = ServerClock::install(directory);
                    let installed =
                        installed.unwrap_or_else(|error| panic!("the clock cannot be made: {error}"));
                    let (made, environment) = installed.unzip();
                    clock = made;
                    environment.unwrap_or_default()
                };
                let own = InstalledServer::start(SETTINGS, prepare).unwrap_or_else(|| panic!("{NONE}"));
                let address = Address {
                    target: Target::Socket(own.directory.clone(), 5432),
                    user: "postgres".to_owned(),
                    password: None,
                    database: "postgres".to_owned(),
                };
                Self { address, is_own: true, clock, _own: Some(own) }
            }
        })
    }
}

impl Address {
    /// Parses `postgres://user:password@host:port/database?host=…`.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let rest = url.split_once("://").ok_or("it has no `://`")?.1;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (login, None),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (place, ""),
        };
        let (mut host, mut port) = (decoded(host)?, port.to_owned());
        let (mut user, mut password, mut database) = (decoded(user)?, password, decoded(database)?);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            match name {
                "host" => host = value,
                "port" => port = value,
                "user" => user = value,
                "password" => password = Some(value),
                "dbname" => database = value,
                "sslmode" if matches!(value.as_str(), "require" | "verify-ca" | "verify-full") => {
                    return Err(format!("sslmode={value}: the connection to the server has no TLS here"));
                }
                _ => {}
            }
        }
        let port =
            if port.is_empty() { 5432 } else { port.parse().map_err(|_| format!("`{port}` is no port"))? };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let target = match host.as_str() {
            "" => Target::Host("localhost".to_owned(), port),
            path if path.starts_with('/') => Target::Socket(PathBuf::from(path), port),
            _ => Target::Host(host, port),
        };
        if user.is_empty() {
            user = "postgres".to_owned();
        }
        if database.is_empty() {
            database.clone_from(&user);
        }
        Ok(Self { target, user, password, database })
    }

    /// The URL of a database of the server, without a door in between.
    pub(crate) fn url(&self, database: &str) -> String {
        let place = match &self.target {
            Target::Socket(directory, port) => format!("{}:{port}", encoded(&directory.to_string_lossy())),
            Target::Host(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Target::Host(host, port) => format!("{host}:{port}"),
        };
        format!("postgres://{}@{place}/{}?sslmode=disable", self.login(), encoded(database))
    }

    /// The user and the password, as they stand in a URL.
    pub(crate) fn login(&self) -> String {
        match &self.password {
            Some(password) => format!("{}:{}", encoded(&self.user), encoded(password)),
            None => encoded(&self.user),
        }
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn decoded(text: &str) -> Result<String, String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("`{text}` is not percent-encoded"))?);
        rest = &more[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("`{text}` is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written() {
        let address = Address::parse("postgres://me:p%40ss@db.example:6543/shop?sslmode=prefer").unwrap();
        let target = Target::Host("db.example".to_owned(), 6543);
        let (user, password) = ("me".to_owned(), Some("p@ss".to_owned()));
        assert_eq!(address, Address { target, user, password, database: "shop".to_owned() });
        assert_eq!(address.url("a b"), "postgres://me:p%40ss@db.example:6543/a%20b?sslmode=disable");
        for url in ["postgres://%2Ftmp%2Fpg/x", "postgres:///x?host=/tmp/pg"] {
            assert_eq!(Address::parse(url).unwrap().target, Target::Socket("/tmp/pg".into(), 5432), "{url}");
        }
        assert_eq!(Address::parse("postgres://[::1]:5/x").unwrap().target, Target::Host("::1".to_owned(), 5));
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_reason() {
        for (url, reason) in [
            ("localhost", "it has no `://`"),
            ("postgres://a@h:port/x", "`port` is no port"),
            ("postgres://a%G1@h/x", "`a%G1` is not percent-encoded"),
            (
                "postgres://h/x?sslmode=require",
                "sslmode=require: the connection to the server has no TLS here",
            ),
        ] {
            assert_eq!(Address::parse(url), Err(reason.to_owned()), "{url}");
        }
    }
}
