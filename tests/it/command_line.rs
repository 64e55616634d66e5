//! The command line as a new user meets it.

use serde_json::Value;

use crate::support::service::command;

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
}

#[test]
fn the_example_runs_without_redis_and_without_a_key() {
    let output = command(&["run", "examples/top-flights.json"], "", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let result = json(&output.stdout);
    assert_eq!(result["status"], "completed");
    assert_eq!(result["lane"], "execute");
    assert_eq!(result["metadata"]["llm_calls"], 0);
    let rows = result["result"]["data"].as_array().unwrap();
    assert_eq!(rows[0], serde_json::json!({"airline": "Wizz Air", "from": "Vienna", "to": "Paris", "price": 29.99}));
    assert_eq!(rows.len(), 5);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#""price":39.10}"#), "digits stay as they were written: {text}");
}

#[test]
fn data_comes_as_json_csv_or_ndjson_from_file_or_pipe() {
    let rows = [
        ("[{\"city\":\"Rome\"},{\"city\":\"Oslo\"},{\"city\":\"Rome\"}]", "json"),
        ("city\nRome\nOslo\nRome\n", "csv"),
        ("{\"city\":\"Rome\"}\n{\"city\":\"Oslo\"}\n{\"city\":\"Rome\"}\n", "ndjson"),
    ];
    for (text, ending) in rows {
        let output = command(&["run", "--prompt", "count by city", "--data", "-"], text, &[]);
        let piped = json(&output.stdout);
        assert_eq!(
            piped["result"]["data"],
            serde_json::json!([{"city": "Rome", "count": 2}, {"city": "Oslo", "count": 1}]),
            "{ending}"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("rows.{ending}"));
        std::fs::write(&path, text).unwrap();
        let output = command(&["run", "--prompt", "count by city", "--data", path.to_str().unwrap()], "", &[]);
        assert_eq!(json(&output.stdout)["result"]["data"], piped["result"]["data"], "{ending}");
    }
}

#[test]
fn rows_are_printed_as_csv_or_ndjson_and_read_again() {
    let job = r#"{"job_id":"j","pipeline":[{"step":"union","with":[{"c":[1, 2],"a":"x,\"y\""}]}],
        "data":[{"b":1.10,"a":"00501"},{"a":null,"b":9007199254740993}]}"#;
    let print = |format: &str| command(&["run", "-", "--output", format], job, &[]);
    let csv = print("csv");
    assert_eq!(
        String::from_utf8(csv.stdout).unwrap(),
        "b,a,c\n1.10,00501,\n9007199254740993,,\n,\"x,\"\"y\"\"\",\"[1, 2]\"\n"
    );
    assert_eq!(
        String::from_utf8(print("ndjson").stdout).unwrap(),
        "{\"b\":1.10,\"a\":\"00501\"}\n{\"a\":null,\"b\":9007199254740993}\n{\"c\":[1, 2],\"a\":\"x,\\\"y\\\"\"}\n"
    );
    assert_eq!(json(&print("json").stdout)["status"], "completed");
    assert!(String::from_utf8(print("table").stdout).unwrap().contains("00501"));

    let words = r#"{"job_id":"j","pipeline":[{"step":"extract","path":"a"}],"data":[{"a":[1]}]}"#;
    let planned = r#"{"job_id":"j","dry_run":true,"pipeline":[{"step":"count"}],"data":[]}"#;
    let broken = r#"{"job_id":"j","pipeline":[{"step":"table_sort","field":"b"}],"data":[{"a":1}]}"#;
    for (job, part) in [(words, "row 1 is no object"), (planned, "has no rows"), (broken, "no column 'b'")] {
        let output = command(&["run", "-", "--output", "csv"], job, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn csv_that_is_not_whole_is_refused_or_warned_about() {
    let run = |csv: &str| command(&["run", "--prompt", "count rows", "--data", "-"], csv, &[]);
    let torn = run("a,b\n1,\"x\n2,y\n");
    assert_eq!(torn.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&torn.stderr).contains("the quote that opens on line 2 is never closed"));
    let short = run("a,b\n1\n2,y\n3\n");
    assert_eq!(short.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&short.stderr).into_owned();
    assert!(
        stderr.contains("warning: csv: 2 rows are shorter than the header: their missing cells are null"),
        "{stderr}"
    );
}

#[test]
fn bad_usage_ends_with_2_and_says_what_to_do() {
    let rows: &[(&[&str], &str, &str)] = &[
        (&["run"], "", "nothing to run"),
        (&["run", "no-such-file.json"], "", "no-such-file.json"),
        (&["run", "-"], "{\"job_id\":", "not a JSON object"),
        (&["run", "-"], "{}", "nothing to do"),
        (&["run", "-"], "{\"job_id\":\"a b\",\"prompt\":\"x\"}", "space"),
        (&["run", "-"], "{\"job_id\":\"a\",\"prompt\":\"x\",\"version\":\"2.0\"}", "unsupported_version"),
        (&["run", "--prompt", "x", "--data", "-"], "{\"a\":", "-: "),
        (&["fly"], "", "unrecognized subcommand"),
        (&["jobs", "list", "--status", "lost"], "", "possible values: queued"),
        (&["jobs", "list", "--cursor", "lost"], "", "none that a page of this list gave out"),
        (&["dead", "list", "--cursor", "LWpvYiAxIGE"], "", "none that a page of this list gave out"),
        (&["dead", "list", "--all", "--limit", "3"], "", "cannot be used with"),
        (&["eval", "intents", "Cargo.toml"], "", "line 1"),
    ];
    for (args, input, part) in rows {
        let output = command(args, input, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_job_that_fails_ends_with_1_and_still_prints_its_result() {
    let output = command(&["run", "--prompt", "process the data", "--data", "-"], "[{\"a\":1}]", &[]);
    assert_eq!(output.status.code(), Some(1));
    let result = json(&output.stdout);
    assert_eq!(result["status"], "failed");
    assert_eq!(result["error"]["type"], "intent_unclear");
    assert_eq!(result["error"]["retryable"], false);
    assert_eq!(result["metadata"]["intent"]["intent"], "unclear");
}

#[test]
fn a_faulty_configuration_stops_every_command_with_a_line_per_fault() {
    let env = [("AGENT_RUNNER__WORKER__CONCURENCY", "4"), ("AGENT_RUNNER__RETRY__BASE_MS", "fast")];
    let output = command(&["config", "check"], "", &env);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("worker.concurency: unknown key; did you mean `concurrency`?"), "{stderr}");
    assert!(stderr.contains("retry.base_ms: "), "{stderr}");
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let env = [("OPENAI_API_KEY", "sk-canary"), ("REDIS_URL", "redis://u:canary@127.0.0.1:1")];
    let output = command(&["config", "show"], "", &env);
    let shown = json(&output.stdout);
    assert_eq!(shown["llm"]["api_key"], "***");
    assert_eq!(shown["redis"]["url"], "redis://***@127.0.0.1:1");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("canary"));
}

#[test]
fn every_command_helps_with_an_example() {
    for args in [
        "serve",
        "run",
        "submit",
        "jobs list",
        "jobs show",
        "jobs cancel",
        "jobs approve",
        "jobs reject",
        "jobs retry",
        "dead list",
        "dead retry",
        "dead discard",
        "queue stats",
        "queue pause",
        "queue resume",
        "agents list",
        "agents check",
        "agents route",
        "eval intents",
        "eval routing",
        "config check",
        "config show",
        "completions",
        "man",
    ] {
        let mut words: Vec<&str> = args.split(' ').collect();
        words.push("--help");
        let output = command(&words, "", &[]);
        assert!(output.status.success(), "{args}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{args} has no example");
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let page = command(&["man"], "", &[]);
    assert!(page.status.success());
    assert!(String::from_utf8_lossy(&page.stdout).contains(".TH agent-runner 1"));
    let dir = tempfile::tempdir().unwrap();
    assert!(command(&["man", "--dir", dir.path().to_str().unwrap()], "", &[]).status.success());
    for name in ["agent-runner.1", "agent-runner-run.1", "agent-runner-jobs-show.1"] {
        assert!(dir.path().join(name).exists(), "{name} is missing");
    }
    let nowhere = command(&["man", "--dir", "/nowhere/at/all"], "", &[]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere/at/all"));
}
