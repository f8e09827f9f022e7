//! Where a server listens, and how to log in to it.

use std::path::PathBuf;

/// The place of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Socket(PathBuf),
    Host(String, u16),
}

/// A server, as `REDIS_URL` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) target: Target,
    /// The part of the URL before the `@`, as it stands there.
    login: String,
    user: Option<String>,
    password: Option<String>,
    pub(crate) database: u32,
}

impl Address {
    pub(crate) fn socket(path: PathBuf) -> Self {
        Self { target: Target::Socket(path), login: String::new(), user: None, password: None, database: 0 }
    }

    /// Parses `redis://user:password@host:port/database` and `redis+unix:///path?db=1`.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no `://`")?;
        let number =
            |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is no number of a database"));
        match scheme {
            "redis" | "valkey" => {}
            "unix" | "redis+unix" => {
                let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
                let mut address = Self::socket(PathBuf::from(decoded(path)?));
                for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
                    match name {
                        "db" => address.database = number(value)?,
                        "user" => address.user = Some(decoded(value)?),
                        "pass" => address.password = Some(decoded(value)?),
                        _ => {}
                    }
                }
                let login = |text: &Option<String>| encoded(text.as_deref().unwrap_or_default());
                if address.password.is_some() {
                    address.login = format!("{}:{}", login(&address.user), login(&address.password));
                }
                return Ok(address);
            }
            "rediss" | "valkeys" => {
                return Err("rediss: the connection to the server has no TLS here".to_owned());
            }
            _ => return Err(format!("`{scheme}` is no scheme of Redis")),
        }
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let part = |text: &str| decoded(text).map(|text| Some(text).filter(|text| !text.is_empty()));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (place, "6379"),
        };
        let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() { "localhost" } else { host };
        Ok(Self {
            target: Target::Host(host.to_owned(), port),
            login: login.to_owned(),
            user: part(user)?,
            password: part(password)?,
            database: if database.is_empty() { 0 } else { number(database)? },
        })
    }

    /// The command that logs in, if there is a password.
    pub(crate) fn auth(&self) -> Option<Vec<&str>> {
        let password = self.password.as_deref()?;
        Some([Some("AUTH"), self.user.as_deref(), Some(password)].into_iter().flatten().collect())
    }

    /// The URL of a client that reaches this server at another place.
    pub(crate) fn url_at(&self, place: &str) -> String {
        let at = if self.login.is_empty() { "" } else { "@" };
        format!("redis://{}{at}{place}/{}", self.login, self.database)
    }

    /// The URL of the server itself.
    pub(crate) fn url(&self) -> String {
        match &self.target {
            Target::Socket(path) => {
                let login = match (&self.user, &self.password) {
                    (user, Some(password)) => {
                        let user =
                            user.iter().map(|user| format!("&user={}", encoded(user))).collect::<String>();
                        format!("{user}&pass={}", encoded(password))
                    }
                    _ => String::new(),
                };
                format!("redis+unix://{}?db={}{login}", path.display(), self.database)
            }
            Target::Host(host, port) if host.contains(':') => self.url_at(&format!("[{host}]:{port}")),
            Target::Host(host, port) => self.url_at(&format!("{host}:{port}")),
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
        let address = Address::parse("redis://me:p%40ss@cache.example:6400/3").unwrap();
        assert_eq!(address.target, Target::Host("cache.example".to_owned(), 6400));
        assert_eq!(address.auth(), Some(vec!["AUTH", "me", "p@ss"]));
        assert_eq!(address.url_at("127.0.0.1:5"), "redis://me:p%40ss@127.0.0.1:5/3");
        assert_eq!(address.url(), "redis://me:p%40ss@cache.example:6400/3");
        assert_eq!(Address::parse("redis://:x@[::1]").unwrap().auth(), Some(vec!["AUTH", "x"]));
        assert_eq!(Address::parse("redis://[::1]").unwrap().url(), "redis://[::1]:6379/0");
        let socket = Address::parse("unix:///tmp/a%20b?db=2&pass=x").unwrap();
        assert_eq!((socket.target.clone(), socket.database), (Target::Socket("/tmp/a b".into()), 2));
        assert_eq!(socket.url_at("127.0.0.1:5"), "redis://:x@127.0.0.1:5/2");
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_reason() {
        for (url, reason) in [
            ("localhost", "it has no `://`"),
            ("rediss://h", "rediss: the connection to the server has no TLS here"),
            ("amqp://h", "`amqp` is no scheme of Redis"),
            ("redis://h:door", "`door` is no port"),
            ("redis://h/x", "`x` is no number of a database"),
            ("redis://a%G1@h", "`a%G1` is not percent-encoded"),
        ] {
            assert_eq!(Address::parse(url), Err(reason.to_owned()), "{url}");
        }
    }
}
