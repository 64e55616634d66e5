use super::*;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn load(yaml: &str, pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, yaml).unwrap();
    Settings::load(Some(&path), &env(pairs))
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let shipped = load(include_str!("../../config.yaml"), &[]).unwrap();
    assert_eq!(format!("{shipped:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn the_shipped_file_names_every_key() {
    let text = include_str!("../../config.yaml");
    let shown: Value = serde_json::from_str(&Settings::default().shown()).unwrap();
    for (section, keys) in shown.as_object().unwrap() {
        let start = text.find(&format!("\n{section}:\n")).unwrap_or_else(|| panic!("no section {section}"));
        let body = &text[start + 1..];
        let end = body.find("\n\n").unwrap_or(body.len());
        for key in keys.as_object().unwrap().keys() {
            assert!(body[..end].contains(&format!(" {key}:")), "{section}.{key} is not in config.yaml");
        }
    }
}

#[test]
fn variables_win_and_are_read_as_the_key_needs() {
    let settings = load(
        "worker: {concurrency: 4}\nllm: {model: '${MODEL:-small}', base_url: '${URL}'}",
        &[
            ("URL", "http://127.0.0.1:1/v1"),
            ("AGENT_RUNNER__WORKER__CONCURRENCY", "9"),
            ("AGENT_RUNNER__EGRESS__ALLOW", "127.0.0.1:9000, api.internal"),
            ("AGENT_RUNNER__EGRESS__PORTS", "[80, 8080]"),
            ("AGENT_RUNNER__QUEUE__DURABLE", "true"),
            ("AGENT_RUNNER__HTTP__TOKEN", "12345"),
            ("AGENT_RUNNER__ROUTING__THRESHOLD", "0.25"),
            ("PORT", "9999"),
            ("REDIS_URL", "redis://example:1"),
        ],
    )
    .unwrap();
    assert_eq!(settings.worker.concurrency, 9);
    assert_eq!(settings.egress.allow, ["127.0.0.1:9000", "api.internal"]);
    assert_eq!(settings.egress.ports, [80, 8080]);
    assert!(settings.queue.durable && settings.http.token.is_some());
    assert_eq!(settings.http.bind, "127.0.0.1:9999");
    assert_eq!((settings.llm.model.as_str(), settings.routing.threshold), ("small", Some(0.25)));
    assert_eq!(settings.provider(), Provider::Openai);
}

#[test]
fn every_fault_gets_its_own_line() {
    let error = load(
        "worker: {concurency: 4, grace_secs: soon}\nqueues: {}\nhttp: {bind: nowhere}\nqueue: {pop_side: up, lists: [{nam: a}]}",
        &[("AGENT_RUNNER__RETRY__BASE_MS", "fast")],
    )
    .unwrap_err();
    let text = error.to_string();
    for part in [
        "worker.concurency: unknown key; did you mean `concurrency`?",
        "worker.grace_secs: ",
        "queues: unknown key; did you mean `queue`?",
        "queue.pop_side: ",
        "queue.lists[0].nam: unknown key; did you mean `name`?",
        "retry.base_ms: ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(part)), "{part} is not in\n{text}");
    }
}

#[test]
fn an_open_address_needs_a_token() {
    for (yaml, good) in [
        ("http: {bind: '0.0.0.0:8082'}", false),
        ("http: {bind: '[::]:8082'}", false),
        ("http: {bind: '0.0.0.0:8082', token: t}", true),
        ("http: {bind: '0.0.0.0:8082', allow_anonymous: true}", true),
        ("http: {bind: '[::1]:8082'}", true),
        ("http: {bind: 'localhost:8082'}", true),
    ] {
        assert_eq!(load(yaml, &[]).is_ok(), good, "{yaml}");
    }
}

#[test]
fn tokens_are_told_apart_and_each_has_an_owner_or_is_an_admin() {
    let rows = [
        ("[{token: a-canary, role: admin}, {token: b, owner: ann, role: submit}, {token: c, owner: ann}]", None),
        (
            "[{token: a-canary, role: admin}, {token: ' a-canary ', role: admin}]",
            Some("http.tokens[1].token: is the same"),
        ),
        ("[{token: main-canary, role: admin}]", Some("http.tokens[0].token: is the same")),
        ("[{token: '  ', role: admin}]", Some("http.tokens[0].token: must not be empty")),
        ("[{role: admin}]", Some("http.tokens[0].token: must not be empty")),
        ("[{token: a-canary, role: root}]", Some("http.tokens[0].role: ")),
        ("[{token: a-canary, owner: ann, role: admin}]", Some("http.tokens[0].owner: an admin")),
        ("[{token: a-canary, role: submit}]", Some("http.tokens[0].owner: ")),
        ("[{token: a-canary, owner: '', role: read}]", Some("http.tokens[0].owner: ")),
        ("[{token: a-canary, owners: ann}]", Some("http.tokens[0].owners: unknown key")),
    ];
    for (tokens, fault) in rows {
        match (load(&format!("http: {{token: main-canary, tokens: {tokens}}}"), &[]), fault) {
            (Ok(settings), None) => {
                assert!(settings.http.has_tenants());
                assert!(!format!("{settings:?}{}", settings.shown()).contains("canary"), "{tokens}");
            }
            (Err(error), Some(start)) => {
                let text = error.to_string();
                assert!(
                    text.lines().any(|line| line.starts_with(start)) && !text.contains("canary"),
                    "{tokens}: {text}"
                );
            }
            (loaded, _) => panic!("{tokens}: {loaded:?}"),
        }
    }
    let listed = load("", &[("AGENT_RUNNER__HTTP__TOKENS", r#"[{"token":"t","role":"admin"}]"#), ("PORT", "1")]);
    assert!(listed.is_ok_and(|settings| settings.http.has_tokens() && !settings.http.has_tenants()));
    assert!(load("http: {bind: '0.0.0.0:1', tokens: [{token: t, role: admin}]}", &[]).is_ok());
}

#[test]
fn a_missing_variable_is_named() {
    let error = load("redis: {url: 'redis://${NOT_THERE}'}", &[]).unwrap_err();
    assert_eq!(error.0, ["redis.url: the variable NOT_THERE is not set: set it, or write ${NOT_THERE:-default}"]);
}

#[test]
fn a_credential_is_bound_to_hosts_and_has_one_form() {
    let rows = [
        ("{hosts: [api.example.com], bearer: t}", None),
        ("{hosts: ['api.example.com:8443', 'http://127.0.0.1:9'], header: X-Key, value: v}", None),
        ("{hosts: [h], username: u, password: p}", None),
        ("{bearer: t}", Some("p.hosts: is empty")),
        ("{hosts: ['*.example.com'], bearer: t}", Some("is no host")),
        ("{hosts: ['h/path'], bearer: t}", Some("is no host")),
        ("{hosts: ['ftp://h'], bearer: t}", Some("is no host")),
        ("{hosts: [h]}", Some("exactly one of")),
        ("{hosts: [h], bearer: t, username: u, password: p}", Some("exactly one of")),
        ("{hosts: [h], header: X-Key}", Some("exactly one of")),
        ("{hosts: [h], username: u}", Some("exactly one of")),
    ];
    for (profile, fault) in rows {
        let loaded = load(&format!("egress: {{auth_profiles: {{p: {profile}}}}}"), &[]);
        match (loaded, fault) {
            (Ok(settings), None) => assert!(!settings.shown().contains("bearer\":\"t"), "{profile}"),
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{profile}: {error}"),
            (loaded, _) => panic!("{profile}: {loaded:?}"),
        }
    }
}

#[test]
fn secrets_do_not_show() {
    let settings = load("llm: {api_key: sk-canary}\nhttp: {token: canary}", &[]).unwrap();
    assert!(!format!("{settings:?}").contains("canary"));
}

#[test]
fn a_secret_that_was_typed_the_wrong_way_is_not_shown() {
    for yaml in [
        "http: {token: 77001122}",
        "http: {tokens: [canary-77001122]}",
        "http: {tokens: [{token: 77001122, role: admin}]}",
        "http: {tokens: {a: 77001122}}",
        "llm: {api_key: 77001122}",
        "llm: {models: [{model: m, api_key: [77001122]}]}",
        "orchestrator: {headers: {X-Key: 77001122}}",
        "egress: {auth_profiles: {p: {hosts: [h], bearer: 77001122}}}",
        "redis: {sentinel_password: 77001122}",
    ] {
        let text = load(yaml, &[]).unwrap_err().to_string();
        assert!(!text.contains("77001122"), "{yaml}: {text}");
    }
    let listed = load("", &[("AGENT_RUNNER__HTTP__TOKENS", "canary-77001122")]).unwrap_err().to_string();
    assert!(listed.starts_with("http.tokens") && !listed.contains("77001122"), "{listed}");
}

#[test]
fn expressions_that_would_exhaust_the_stack_are_told_before_they_are_parsed() {
    let nested = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    for good in [
        "output.price < 500",
        &nested(limits::MAX_EXPRESSION_NESTING),
        "output.text == '((((((((((' || has(output.b)",
        r#"output.text == "\"((((((((((" "#,
        r"output.text == r'\' || output.text == '(((((((((('",
        "'''it's ((((((((((''' == output.x",
        "a // ((((((((((((\n && b",
        "[[[[[[[[1]]]]]]]] == [[[[[[[[1]]]]]]]]",
    ] {
        assert_eq!(limits::expression_fault(good), None, "{good}");
    }
    let deep = nested(limits::MAX_EXPRESSION_NESTING + 1);
    for bad in [
        deep.clone(),
        format!("'))))))))))' == {deep}"),
        format!(r"r'\' == {deep} || 'x' == x"),
        format!(r"br'\' == {deep} || 'x' == x"),
        format!(r"'\\' == {deep} || 'x' == x"),
        format!("'''a'b''' == {deep} || 'x' == x"),
        format!("a // '\n == {deep} || 'x' == x"),
        format!("'\n == {deep} || 'x' == x"),
        "[{(".repeat(3),
        "x".repeat(limits::MAX_EXPRESSION_BYTES + 1),
    ] {
        assert!(limits::expression_fault(&bad).is_some(), "{bad}");
    }
}

#[test]
fn texts_go_to_no_server_that_nobody_named() {
    use super::EmbeddingsProvider::{Lexical, Openai};
    let models = "llm: {models: [{model: m, base_url: 'http://127.0.0.1:1/v1', api_key: k}]";
    let rows = [
        (format!("{models}}}"), Lexical),
        (format!("{models}, base_url: 'http://127.0.0.1:2/v1'}}"), Openai),
        (format!("{models}}}\nembeddings: {{base_url: 'http://127.0.0.1:2/v1'}}"), Openai),
        ("llm: {api_key: k}".to_owned(), Openai),
        ("llm: {api_key: k, provider: rules}".to_owned(), Lexical),
    ];
    for (yaml, provider) in rows {
        assert_eq!(load(&yaml, &[]).unwrap().embeddings_provider(), provider, "{yaml}");
    }
    let error = load(&format!("{models}}}\nembeddings: {{provider: openai}}"), &[]).unwrap_err();
    assert!(error.to_string().contains("embeddings.base_url"), "{error}");
}

#[test]
fn addresses_are_shown_without_users_and_queries() {
    let env = [
        ("OPENAI_BASE_URL", "http://k:canary@127.0.0.1/v1?key=canary"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let shown: Value = serde_json::from_str(&Settings::load(None, &env.to_vec()).unwrap().shown()).unwrap();
    assert_eq!(shown["llm"]["base_url"], "http://***@127.0.0.1/v1?***");
    assert_eq!(shown["telemetry"]["otlp_endpoint"], "http://c:4318");
}
