//! What `redis.url` says.

/// The parts of an address.
#[derive(Debug, PartialEq)]
pub(super) struct Address {
    pub(super) kind: Kind,
    pub(super) tls: bool,
    /// `user:password`, still encoded.
    login: Option<String>,
    pub(super) hosts: Vec<String>,
    pub(super) database: String,
}

/// What answers there.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Single,
    Sentinel { primary: String },
    Cluster,
}

impl Address {
    /// `redis://[user:password@]host[:port][/db]` (`rediss` for TLS); several hosts, or `redis+cluster://`, are
    /// the seeds of a cluster; `redis+sentinel://h1:26379,h2/primary[/db]` asks Sentinels.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let form = "must be like redis://host:6379, rediss://user:password@host:6380/0, redis+sentinel://h1:26379,h2:26379/primary, or several hosts of a cluster";
        let (scheme, rest) = url.split_once("://").ok_or(form)?;
        let (tls, family) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis", family) => (false, family),
            ("rediss", family) => (true, family),
            _ => return Err(form.to_owned()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login.to_owned()), hosts),
            None => (None, authority),
        };
        let hosts: Vec<String> =
            hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
        if hosts.is_empty() {
            return Err(form.to_owned());
        }
        let (kind, database) = match family {
            "sentinel" => {
                let (primary, database) = path.split_once('/').unwrap_or((path, ""));
                if primary.is_empty() {
                    return Err(
                        "a Sentinel address ends with the name of the primary: redis+sentinel://h1,h2/primary".into()
                    );
                }
                (Kind::Sentinel { primary: primary.to_owned() }, database)
            }
            "cluster" => (Kind::Cluster, path),
            "" if hosts.len() > 1 => (Kind::Cluster, path),
            "" => (Kind::Single, path),
            _ => return Err(form.to_owned()),
        };
        Ok(Self { kind, tls, login, hosts, database: database.to_owned() })
    }

    /// The address of one server.
    pub(super) fn url(&self, host: &str) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let login = self.login.as_ref().map(|login| format!("{login}@")).unwrap_or_default();
        format!("{scheme}://{login}{host}/{}", self.database)
    }

    /// The address of one Sentinel, without the servers' login.
    pub(super) fn sentinel_url(&self, host: &str) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        format!("{scheme}://{host}{}", if has_port { "" } else { ":26379" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let rows: &[(&str, &str)] = &[
            ("redis://127.0.0.1:6379", "Single tls=false None [127.0.0.1:6379] db="),
            ("rediss://u:p%40@h:1/2", "Single tls=true Some(\"u:p%40\") [h:1] db=2"),
            ("redis+sentinel://a,b:5/main/3", "Sentinel { primary: \"main\" } tls=false None [a,b:5] db=3"),
            ("redis://a:1,b:2", "Cluster tls=false None [a:1,b:2] db="),
            ("redis+cluster://a:1", "Cluster tls=false None [a:1] db="),
        ];
        for (url, want) in rows {
            let a = Address::parse(url).unwrap();
            let got = format!("{:?} tls={} {:?} [{}] db={}", a.kind, a.tls, a.login, a.hosts.join(","), a.database);
            assert_eq!(got, *want, "{url}");
        }
        let sentinels = Address::parse("redis+sentinel://u:p@a,b:5/main").unwrap();
        assert_eq!(sentinels.sentinel_url(&sentinels.hosts[0]), "redis://a:26379");
        assert_eq!(sentinels.sentinel_url(&sentinels.hosts[1]), "redis://b:5");
        assert_eq!(sentinels.url("x:1"), "redis://u:p@x:1/");
        for bad in ["", "localhost:6379", "http://a", "redis://", "redis+sentinel://a,b", "redis+x://a"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
