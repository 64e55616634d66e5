use std::net::IpAddr;

use super::*;

fn policy(allow: &[&str]) -> Policy {
    let settings =
        crate::settings::Egress { allow: allow.iter().map(|text| (*text).to_owned()).collect(), ..Default::default() };
    Policy::new(&settings, &["127.0.0.1:6379".to_owned()]).unwrap()
}

#[test]
fn only_public_addresses_pass() {
    for public in ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2a00:1450::1"] {
        assert_eq!(refusal(public.parse::<IpAddr>().unwrap()), None, "{public}");
    }
    for inside in [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "::7f00:1",
        "::8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
        "2600::5efe:7f00:1",
    ] {
        assert!(refusal(inside.parse::<IpAddr>().unwrap()).is_some(), "{inside}");
    }
}

#[test]
fn the_allow_list_opens_exactly_what_it_names() {
    let policy = policy(&["127.0.0.1:9000", "api.internal", "[::1]:9001", "10.0.0.0/8", "Intra.Example.:8443"]);
    for (url, route) in [
        ("http://127.0.0.1:9000/x", Some(Route::Open)),
        ("http://0x7f.1:9000/x", Some(Route::Open)),
        ("http://127.0.0.1:9001/x", None),
        ("http://127.0.0.1/x", None),
        ("http://127.0.0.2:9000/x", None),
        ("https://api.internal/", Some(Route::Open)),
        ("https://API.internal./", Some(Route::Open)),
        ("https://api.internal:9000/", None),
        ("https://x.api.internal/", Some(Route::Guarded)),
        ("http://[::1]:9001/", Some(Route::Open)),
        ("http://[::1]:9000/", None),
        ("http://10.9.8.7/", Some(Route::Guarded)),
        ("http://10.9.8.7:9000/", None),
        ("https://intra.example:8443/", Some(Route::Open)),
        ("https://example.com/", Some(Route::Guarded)),
        ("https://example.com:8443/", None),
        ("http://localhost:9000/", None),
    ] {
        assert_eq!(policy.parse(url).ok().map(|(_, route)| route), route, "{url}");
    }
}

#[test]
fn places_of_our_own_stay_closed_whatever_is_allowed() {
    let policy = policy(&["127.0.0.1:6379", "localhost:6379", "[::1]:6379", "0.0.0.0:6379"]);
    for url in ["http://127.0.0.1:6379/", "http://localhost:6379/", "http://[::1]:6379/", "http://0:6379/"] {
        let error = policy.parse(url).unwrap_err();
        assert!(error.message.contains("never reached"), "{url}: {error}");
    }
}

#[test]
fn an_unreadable_entry_is_named() {
    for bad in ["", "10.0.0.0/33", "a b", "host:port", "host:99999", "http://x/"] {
        let settings = crate::settings::Egress { allow: vec![bad.to_owned()], ..Default::default() };
        assert!(Policy::new(&settings, &[]).unwrap_err().contains("egress.allow"), "{bad:?}");
    }
}

#[test]
fn this_machine_knows_its_own_addresses() {
    assert!(own::is_own([127, 0, 0, 1].into()));
    assert!(!own::is_own([8, 8, 8, 8].into()));
}

#[test]
fn a_link_takes_along_what_a_redirect_does() {
    let names = |url: &str, from: &str, link: &str| {
        let headers =
            ["Accept", "AUTHORIZATION ", "x-key", "Content-Type"].map(|name| (name.to_owned(), "v".to_owned()));
        let timeout = std::time::Duration::from_secs(1);
        let params = vec![("page".to_owned(), "1".to_owned())];
        let mut request = Request { headers: headers.to_vec(), params, ..Request::get(url, timeout, 1) };
        request.follow(&from.parse().unwrap(), link).map(|()| {
            assert!(request.params.is_empty());
            (request.url, request.headers.len())
        })
    };
    let asked = "https://a.example/1";
    for (from, link, expected, headers) in [
        (asked, "2?x=1#part", "https://a.example/2?x=1", 4),
        (asked, "https://A.example:443/2", "https://a.example/2", 4),
        (asked, "https://a.example:8443/2", "https://a.example:8443/2", 2),
        (asked, "//b.example/2", "https://b.example/2", 2),
        // A redirect led elsewhere before the link was read.
        ("https://b.example/1", "/2", "https://b.example/2", 2),
        ("https://b.example/1", asked, asked, 2),
        ("http://a.example/1", "https://a.example/2", "https://a.example/2", 2),
    ] {
        assert_eq!(names(asked, from, link).unwrap(), (expected.to_owned(), headers), "{from} {link}");
    }
    let down = names(asked, asked, "http://a.example/2").unwrap_err();
    assert_eq!(down.code, crate::job::ErrorCode::HttpBlocked);
    assert_eq!(names(asked, asked, "http://[").unwrap_err().code, crate::job::ErrorCode::HttpFailed);
}
