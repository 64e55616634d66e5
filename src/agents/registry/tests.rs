use super::*;

const GOOD: &str = r#"
agents:
  - id: data-analyst
    name: Data Analytics
    description: Analyses data
    tags: [Data, sql, data]
    examples: ["chart last quarter's sales"]
    threshold: 0.6
    instructions: |
      Compute, do not guess. Shell variables like ${HOME} stay as they are.
    model: gpt-4o-mini
    temperature: 0.3
    max_tokens: 500
    tools: [execute_pipeline, "mcp:db", "mcp:mail/send.message"]
    handoffs: [billing, {to: sales, description: "pricing questions", history: last_message, enabled_when: "job.prompt.contains('price')"}, front]
    capabilities: [sql]
  - {id: billing}
  - {id: sales, description: "42 is the answer"}
mcp_servers:
  db: {command: [db-server, --stdio], env: {TOKEN: "${DB_TOKEN}"}, pin: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", approval: [drop_table]}
  mail: {url: "https://mail.example/mcp", headers: {Authorization: "Bearer ${MAIL_TOKEN:-none}"}, timeout_secs: 5}
tiers:
  default: [{level: 3, agent: sales}, {level: 1, model: gpt-4o-mini, temperature: 0.3}]
pools:
  front: {strategy: round_robin, agents: [billing, sales], default: data-analyst}
"#;

fn env() -> Env {
    vec![("DB_TOKEN".into(), "s3cret".into())]
}

#[test]
fn a_whole_file_is_read() {
    let registry = Registry::parse(GOOD, &env()).unwrap();
    let agent = registry.agent("data-analyst").unwrap();
    assert_eq!(agent.tags, ["data", "sql"]);
    assert_eq!((agent.threshold, agent.temperature, agent.max_tokens), (Some(0.6), Some(0.3), Some(500)));
    assert!(agent.instructions.contains("${HOME}"));
    assert_eq!(
        agent.tools.iter().map(ToolRef::text).collect::<Vec<_>>(),
        ["execute_pipeline", "mcp:db", "mcp:mail/send.message"]
    );
    assert_eq!(agent.handoffs[1].history, History::LastMessage);
    assert_eq!(registry.agent("billing").unwrap().name, "billing");
    assert_eq!(registry.tiers["default"].iter().map(|tier| tier.level).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(registry.pools["front"].strategy, Strategy::RoundRobin);
    let shown = serde_json::to_string(&registry).unwrap();
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(registry.tags(), ["data", "sql"]);
}

#[test]
fn tools_approvals_and_guardrails_are_read() {
    let text = r#"
agents:
  - id: a
    tools: [search_tools, {tool: "mcp:m/send", approval: required}, {tool: openapi_action}]
    guardrails: {input: [{pattern: "(?i)iban", name: no-iban}], output: [{schema: {type: object}}, {check: is polite, model: m}]}
  - {id: b, tools: [{tool: "mcp:db", approval: required}, "mcp:m"]}
mcp_servers:
  m: {command: [x], idle_secs: 0, cwd: /srv, memory_mb: 64, approval: [delete]}
  db: {url: "https://h/mcp", auth_profile: p}
"#;
    let registry = Registry::parse(text, &env()).unwrap();
    let agent = registry.agent("a").unwrap();
    assert_eq!(
        agent.tools.iter().map(ToolRef::text).collect::<Vec<_>>(),
        ["search_tools", "mcp:m/send", "openapi_action"]
    );
    assert_eq!(agent.guardrails.input[0].name, "no-iban");
    let names: Vec<&str> = agent.guardrails.output.iter().map(|rail| rail.name.as_str()).collect();
    assert_eq!(names, ["schema-1", "check-2"]);
    let server = &registry.mcp_servers["m"];
    assert_eq!((server.idle_secs, server.cwd.as_deref(), server.memory_mb), (0, Some("/srv"), Some(64)));
    let of = |server: &str, tool: &str| ToolRef::Mcp { server: server.into(), tool: Some(tool.into()) };
    for (tool, asks) in
        [(of("m", "send"), true), (of("m", "delete"), true), (of("m", "read"), false), (of("db", "x"), true)]
    {
        assert_eq!(registry.asks(&tool), asks, "{tool:?}");
    }
    assert!(!registry.asks(&ToolRef::BuiltIn("search_tools".into())));
}

#[test]
fn an_empty_list_of_agents_is_a_registry() {
    assert!(Registry::parse("agents: []", &env()).unwrap().agents.is_empty());
}

#[test]
fn every_fault_is_found_and_names_its_place() {
    let long = "x".repeat(49);
    let rows: &[(String, &[&str])] = &[
        ("agents: [{id: a}, {id: b}, {id: a}]".into(), &["agents: the id \"a\" is there twice"]),
        ("agents: [{id: a-b}, {id: a_b}]".into(), &["tool-name collision: \"a-b\" and \"a_b\""]),
        ("agents: [{id: a, handoffs: [a]}]".into(), &["agents[a].handoffs: self handoff"]),
        ("agents: [{id: a, handoffs: [p]}]\npools: {p: {strategy: fallback, agents: [a]}}".into(), &["self handoff: the pool \"p\" has no other agent"]),
        ("agents: [{id: a}]\npools: {p-q: {strategy: fallback, agents: [a]}, p_q: {strategy: fallback, agents: [a]}}".into(), &["pools.p_q: tool-name collision: differs from \"p-q\""]),
        ("agents: [{id: a}]\npools: {a: {strategy: fallback, agents: [a]}}".into(), &["pools.a: tool-name collision"]),
        ("agents: [{id: a}]\npools: {p: {strategy: capability, agents: [a]}}".into(), &["pools.p: chooses by capability, and none of its agents has any"]),
        ("agents: [{id: a}]\npools: {p: {strategy: fallback, agents: [a], classify: true}}".into(), &["pools.p.classify: belongs to pools that choose by capability"]),
        ("agents: [{id: a}]\npools: {p: {strategy: capability, agents: [a], default: b, classify: yes please}}".into(), &["pools.p.classify: must be true or false", "pools.p.default: there is no agent \"b\""]),
        ("agents: [{id: a}]\ntiers: {t: [{level: 1, agent: b}, {level: 1}], u: []}".into(), &["tiers.t: level 1: there is no agent \"b\"", "tiers.t: level 1 is there twice", "tiers.u: is empty"]),
        ("agents: [{id: billing, handoffs: [biling]}, {id: x}]".into(), &["unknown target", "did you mean \"billing\"?"]),
        ("agents: [{id: a, handoffs: [b, b]}, {id: b}]".into(), &["\"b\" is there twice"]),
        ("agents: [{id: a, handoffs: [{description: x}]}]".into(), &["agents[a].handoffs[0].to: is missing"]),
        ("agents: [{id: a, handoffs: [{to: b, history: some}]}, {id: b}]".into(), &["handoffs[0].history: must be full"]),
        ("agents: [{id: a, handoffs: [{to: b, enabled_when: \"a ==\"}]}, {id: b}]".into(), &["is no CEL expression"]),
        ("agents: [{id: a, tools: [\"mcp:db\"]}]".into(), &["agents[a].tools: missing MCP server", "\"db\""]),
        (
            "{agents: [{id: a, handoffs: [b], tools: [\"mcp:s/Transfer-To_B\"]}, {id: b}], mcp_servers: {s: {command: [x]}}}".into(),
            &["tool-name collision: \"Transfer-To_B\""],
        ),
        ("agents: [{id: a, tools: [run_shell]}]".into(), &["unknown tool \"run_shell\"; known are execute_pipeline"]),
        ("agents: [{id: a, tools: [\"mcp:\"]}]".into(), &["must read mcp:<server>"]),
        ("agents: [{id: Data Team}]".into(), &["agents[Data Team].id: must be lower-case letters"]),
        (format!("agents: [{{id: {long}}}]"), &["has 49 characters: at most 48"]),
        ("agents: [{name: x}]".into(), &["agents[0].id: is missing"]),
        ("agents: [{id: 7}]".into(), &["agents[0].id: must be text, found 7; put it in quotes"]),
        ("agents: [{id: a, threshold: 1.5}]".into(), &["agents[a].threshold: must be a number from -1 to 1, found 1.5"]),
        ("agents: [{id: a, threshold: high}]".into(), &["agents[a].threshold: must be a number"]),
        ("agents: [{id: a, threshold: .nan}]".into(), &["non-finite"]),
        ("agents: [{id: a, temperature: 3}]".into(), &["agents[a].temperature"]),
        ("agents: [{id: a, max_tokens: 0}]".into(), &["agents[a].max_tokens: must be a whole number from 1"]),
        ("agents: [{id: a, tags: data}]".into(), &["agents[a].tags: must be a list, found \"data\""]),
        ("agents: [{id: a, examples: [\"\"]}]".into(), &["agents[a].examples[0]: is empty"]),
        ("agents: [{id: a, desciption: x}]".into(), &["agents[a].desciption: unknown key; did you mean `description`?"]),
        ("agents: [a]".into(), &["agents[0]: must be a mapping, found \"a\""]),
        ("{agents: [], agentz: []}".into(), &["agentz: unknown key; did you mean `agents`?"]),
        ("tiers: {}".into(), &["agents: is missing"]),
        ("{agents: [], tiers: {x: []}}".into(), &["tiers.x: is empty"]),
        ("{agents: [], tiers: {x: [{level: 1}, {level: 1}]}}".into(), &["tiers.x: level 1 is there twice"]),
        ("{agents: [], tiers: {x: [{model: m}]}}".into(), &["tiers.x[0].level: is missing"]),
        ("{agents: [], tiers: {x: [{level: 0}]}}".into(), &["tiers.x[0].level: must be a whole number from 1"]),
        ("{agents: [], tiers: {x: [{level: 1, agent: b}]}}".into(), &["tiers.x: level 1: there is no agent \"b\""]),
        ("{agents: [], pools: {p: {strategy: random, agents: [b]}}}".into(), &["strategy: must be round_robin", "there is no agent \"b\""]),
        ("{agents: [{id: a}], pools: {p: {strategy: fallback, agents: []}}}".into(), &["pools.p.agents: is empty"]),
        ("{agents: [{id: a}], pools: {p: {strategy: fallback, agents: [a, a], default: z}}}".into(), &["\"a\" is there twice", "pools.p.default"]),
        ("{agents: [{id: a}], pools: {a: {strategy: fallback, agents: [a]}}}".into(), &["pools.a: tool-name collision"]),
        ("{agents: [], mcp_servers: {m: {}}}".into(), &["mcp_servers.m: needs `command`"]),
        ("{agents: [], mcp_servers: {m: {command: [x], url: \"http://h\"}}}".into(), &["has both `command` and `url`"]),
        ("{agents: [], mcp_servers: {m: {url: \"file:///etc\"}}}".into(), &["mcp_servers.m.url: must be an http:// or https://"]),
        ("{agents: [], mcp_servers: {m: {command: [x], env: {A: \"${NOT_SET}\"}}}}".into(), &["the variable NOT_SET is not set"]),
        ("{agents: [], mcp_servers: {m: {command: [x], pin: \"md5:1\"}}}".into(), &["mcp_servers.m.pin: must read sha256:"]),
        ("agents: [{id: a".into(), &["is not valid YAML"]),
        ("agents: [{id: a, id: b}]".into(), &["is not valid YAML", "duplicate"]),
        ("".into(), &["agents: is missing"]),
        ("just words".into(), &["must be a mapping"]),
    ];
    check_faults(rows);
}

#[test]
fn faults_of_what_agents_use_name_their_place() {
    let rows: &[(String, &[&str])] = &[
        ("agents: [{id: a, tools: [{approval: required}]}]".into(), &["agents[a].tools[0].tool: is missing"]),
        (
            "agents: [{id: a, tools: [{tool: search_tools, approval: maybe}]}]".into(),
            &["tools[0].approval: must be required or none"],
        ),
        ("agents: [{id: a, tools: [{tool: search_tools, aproval: none}]}]".into(), &["did you mean `approval`?"]),
        ("agents: [{id: a, tools: [7]}]".into(), &["agents[a].tools[0]: must be text, found 7"]),
        ("agents: [{id: a, guardrails: {input: [{}]}}]".into(), &["guardrails.input[0]: needs exactly one of"]),
        (
            "agents: [{id: a, guardrails: {output: [{pattern: '('}]}}]".into(),
            &["output[0].pattern: is no regular expression"],
        ),
        (
            "agents: [{id: a, guardrails: {output: [{pattern: 'x{1000}{1000}'}]}}]".into(),
            &["output[0].pattern: is no regular expression"],
        ),
        ("agents: [{id: a, guardrails: {output: [{pattern: x, check: polite}]}}]".into(), &["needs exactly one of"]),
        (
            "agents: [{id: a, guardrails: {output: [{schema: {type: 7}}]}}]".into(),
            &["output[0].schema: is no JSON Schema"],
        ),
        ("agents: [{id: a, guardrails: {outputs: []}}]".into(), &["did you mean `output`?"]),
        ("{agents: [], mcp_servers: {a__b: {command: [x]}}}".into(), &["mcp_servers.a__b: tool-name collision"]),
        ("{agents: [], mcp_servers: {a_: {command: [x]}}}".into(), &["mcp_servers.a_: tool-name collision"]),
        (
            "{agents: [], mcp_servers: {transfer-to-x: {command: [x]}}}".into(),
            &["mcp_servers.transfer-to-x: tool-name collision"],
        ),
        (
            "{agents: [], mcp_servers: {m: {command: [x], auth_profile: p}}}".into(),
            &["m.auth_profile: belongs to servers with `url`"],
        ),
        ("{agents: [], mcp_servers: {m: {url: \"https://h\", cwd: /}}}".into(), &["belong to servers with `command`"]),
        (
            "{agents: [], mcp_servers: {m: {command: [x], idle_secs: -1}}}".into(),
            &["mcp_servers.m.idle_secs: must be a whole number"],
        ),
    ];
    check_faults(rows);
}

fn check_faults(rows: &[(String, &[&str])]) {
    for (text, expected) in rows {
        let error = Registry::parse(text, &env()).expect_err(text).to_string();
        for part in *expected {
            assert!(error.contains(part), "{text}\n  gave {error}\n  without {part}");
        }
    }
}

#[test]
fn all_faults_come_at_once() {
    let text = "agents:\n- {id: a, threshold: 2, handoffs: [a]}\n- {id: B}\n- {id: c, tools: [x], colour: red}\n";
    let error = Registry::parse(text, &env()).unwrap_err();
    assert_eq!(error.0.len(), 5, "{error}");
}

#[test]
fn a_yaml_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let last = format!("*a{}", i - 1);
        text.push_str(&format!("a{i}: &a{i} [{}]\n", [last.as_str(); 10].join(", ")));
    }
    assert!(Registry::parse(&text, &env()).is_err());
}

#[test]
fn a_bad_file_changes_nothing_at_reload_and_a_good_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agents.yaml");
    let live = LiveRegistry::start(&path, &env()).unwrap();
    assert!(live.current().agents.is_empty());
    std::fs::write(&path, "agents: [{id: a}]").unwrap();
    assert!(live.reload().unwrap());
    assert!(!live.reload().unwrap());
    std::fs::write(&path, "agents: [{id: a}, {id: a}]").unwrap();
    assert!(live.reload().is_err());
    assert_eq!(live.current().agents.len(), 1);
    assert!(LiveRegistry::start(&path, &env()).is_err());
}
