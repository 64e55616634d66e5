//! Any text as an address: what passes the policy is http or https, has no credentials and leads to no inside address.
#![no_main]

use std::{net::IpAddr, sync::LazyLock};

use agent_runner::{
    net::{Policy, Route, refusal},
    settings::Egress,
};
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::new(&Egress::default(), &[]).expect("the defaults hold"));

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((url, route)) = POLICY.parse(text) else { return };
    assert_eq!(route, Route::Guarded, "nothing was opened");
    assert!(matches!(url.scheme(), "http" | "https"));
    assert!(url.username().is_empty() && url.password().is_none());
    assert!(matches!(url.port_or_known_default(), Some(80 | 443)));
    let host = url.host_str().expect("a host").trim_matches(['[', ']']).to_owned();
    if let Ok(ip) = host.parse::<IpAddr>() {
        assert_eq!(refusal(ip), None, "{ip}");
    }
});
