//! The deployment files speak of routes, metrics and settings that exist, and keep what the documents promise.

use std::{collections::BTreeSet, fs, path::PathBuf};

use agent_runner::{http, settings::Settings, telemetry::names};
use regex::Regex;
use yaml_rust2::{Yaml, YamlLoader};

fn text(path: &str) -> String {
    let full = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&full).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

/// A mapping of names to texts, as an environment.
fn environment(mapping: &Yaml) -> Vec<(String, String)> {
    let pairs = mapping.as_hash().unwrap().iter();
    pairs.map(|(key, value)| (key.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())).collect()
}

fn settings(env: Vec<(String, String)>) -> Settings {
    Settings::load(None, &env).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Every metric that an expression names, without the suffixes of histograms.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let name = Regex::new(r"(?:agent_runner|gen_ai)_\w+").unwrap();
    let plain = |found: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| found.strip_suffix(end)).unwrap_or(found).to_owned()
    };
    name.find_iter(expression).map(|found| plain(found.as_str())).collect()
}

fn known_metrics() -> BTreeSet<String> {
    names::ALL.iter().map(|metric| metric.name.to_owned()).collect()
}

#[test]
fn alerts_name_metrics_that_exist_and_each_has_its_entry_in_the_runbook() {
    let rules = yaml("deploy/prometheus/alerts.yaml");
    let runbook = text("docs/runbook.md");
    let rules = rules["groups"][0]["rules"].as_vec().unwrap();
    let mut alerts = BTreeSet::new();
    for rule in rules {
        let alert = rule["alert"].as_str().unwrap();
        alerts.insert(alert.to_owned());
        let unknown: Vec<_> =
            metrics_in(rule["expr"].as_str().unwrap()).difference(&known_metrics()).cloned().collect();
        assert!(unknown.is_empty(), "{alert}: {unknown:?}");
        let expected = format!("docs/runbook.md#{}", alert.to_ascii_lowercase());
        assert_eq!(rule["annotations"]["runbook"].as_str(), Some(expected.as_str()), "{alert}");
        assert!(rule["annotations"]["summary"].as_str().is_some(), "{alert}");
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("page" | "ticket")), "{alert}");
    }
    let entries = runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    assert_eq!(alerts, entries);
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: serde_json::Value = serde_json::from_str(&text("deploy/grafana/dashboard.json")).unwrap();
    let mut shown = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            shown.extend(metrics_in(target["expr"].as_str().unwrap()));
        }
    }
    assert_eq!(shown, known_metrics());
}

#[test]
fn kubernetes_probes_ports_labels_and_settings_fit_the_program() {
    let deployment = yaml("deploy/kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert!(http::paths().iter().any(|known| known == path), "{probe} asks for {path}");
        assert_eq!(container[probe]["httpGet"]["port"].as_str(), container["ports"][0]["name"].as_str());
    }
    assert_eq!(container["readinessProbe"]["httpGet"]["path"].as_str(), Some("/health/ready"));
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true));

    let mut env = environment(&yaml("deploy/kubernetes/configmap.yaml")["data"]);
    let file = env.iter().position(|(name, _)| name == "AGENT_RUNNER_CONFIG").unwrap();
    let (_, file) = env.swap_remove(file);
    assert_eq!(container["volumeMounts"][0]["mountPath"].as_str(), file.strip_suffix("/config.yaml"));
    assert!(env.iter().all(|(name, _)| name != "REDIS_URL"), "it may hold a password: the secret has it");
    env.push(("AGENT_RUNNER_TOKEN".into(), "from the secret".into()));
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/files/config.yaml");
    let settings = Settings::load(Some(&config), &env).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(settings.agents.file, "/etc/agent-runner/agents.yaml");
    let port = container["ports"][0]["containerPort"].as_i64().unwrap();
    assert!(settings.http.bind.ends_with(&format!(":{port}")));
    let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
    assert!(grace > i64::try_from(settings.worker.grace_secs).unwrap() + 5, "pods are killed while jobs still end");

    let name = deployment["metadata"]["name"].as_str();
    let scaled = yaml("deploy/kubernetes/scaledobject.yaml");
    assert_eq!(scaled["spec"]["scaleTargetRef"]["name"].as_str(), name);
    // Where jobs wait.
    let prefix = &settings.queue.prefix;
    let lists = scaled["spec"]["triggers"].as_vec().unwrap().iter();
    let lists: Vec<_> = lists.map(|trigger| trigger["metadata"]["listName"].as_str().unwrap().to_owned()).collect();
    let mut waiting = vec![format!("{prefix}:jobs")];
    waiting.extend(["inbox", "high", "ready", "low"].map(|list| format!("{{{prefix}:jobs}}:{list}")));
    assert_eq!(lists, waiting);
    let fewest = scaled["spec"]["minReplicaCount"].as_i64();
    assert!(fewest >= Some(2), "draining one node would stop all work");
    let budget = yaml("deploy/kubernetes/poddisruptionbudget.yaml");
    assert!(budget["spec"]["minAvailable"].is_badvalue(), "a fleet scaled to its fewest could never be moved");
    assert_eq!(budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"].as_str(), name);
    let listed = yaml("deploy/kubernetes/kustomization.yaml");
    for file in listed["resources"].as_vec().unwrap() {
        let path = format!("deploy/kubernetes/{}", file.as_str().unwrap());
        let document = yaml(&path);
        for key in ["apiVersion", "kind"] {
            assert!(document[key].as_str().is_some(), "{path}: {key}");
        }
        assert_eq!(document["metadata"]["name"].as_str(), name, "{path}");
    }
}

#[test]
fn every_image_has_a_version_and_ours_is_this_one() {
    let ours = concat!("agent-runner:", env!("CARGO_PKG_VERSION"));
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_hash().unwrap();
    let mut images: Vec<String> =
        services.values().map(|service| service["image"].as_str().unwrap().to_owned()).collect();
    let deployment = yaml("deploy/kubernetes/deployment.yaml");
    images.push(deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned());
    assert_eq!(images.iter().filter(|image| *image == ours).count(), 2, "{images:?}");

    let dockerfile = text("Dockerfile");
    assert!(dockerfile.contains(concat!("image.version=\"", env!("CARGO_PKG_VERSION"), "\"")));
    let compiler = dockerfile.lines().find_map(|line| line.strip_prefix("ARG RUST_VERSION=")).unwrap();
    for image in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let image = image.split(' ').next().unwrap();
        if image != "scratch" {
            images.push(image.replace("${RUST_VERSION}", compiler));
        }
    }
    let pinned = Regex::new(r":v?\d+\.\d+(\.\d+)?(-|$)").unwrap();
    let loose: Vec<_> = images.iter().filter(|image| !pinned.is_match(image)).collect();
    assert!(loose.is_empty(), "{loose:?}");
}

#[test]
fn compose_runs_redis_as_a_queue_needs_it() {
    let compose = yaml("docker-compose.yml");
    let redis: Vec<&str> =
        compose["services"]["redis"]["command"].as_vec().unwrap().iter().filter_map(Yaml::as_str).collect();
    for pair in [["--appendonly", "yes"], ["--maxmemory-policy", "noeviction"]] {
        assert!(redis.windows(2).any(|window| window == pair), "{pair:?}");
    }
    let service = &compose["services"]["agent-runner"];
    let settings = settings(environment(&service["environment"]));
    assert!(settings.queue.durable);
    // No token there: names are checked, and the port is published to this machine alone.
    assert!(!settings.http.allowed_hosts.is_empty());
    assert!(service["ports"][0].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(service["read_only"].as_bool(), Some(true));
    let grace: u64 = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!(grace > settings.worker.grace_secs + 5);
}

#[test]
fn the_image_runs_without_root_and_the_unit_waits_for_running_jobs() {
    let image = text("Dockerfile");
    let last_stage = image.rsplit("\nFROM ").next().unwrap();
    assert!(last_stage.contains("\nUSER 65532:65532\n") && !last_stage.contains("\nRUN "), "{last_stage}");
    let check = last_stage.lines().find_map(|line| line.strip_prefix("HEALTHCHECK ")).unwrap();
    assert!(check.ends_with(r#"CMD ["/usr/local/bin/agent-runner", "health", "live"]"#), "{check}");
    assert!(text(".dockerignore").lines().any(|line| line == ".env"), "secrets would reach the builder");
    let unit = text("deploy/systemd/agent-runner.service");
    let stop: u64 = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
    assert!(stop > Settings::default().worker.grace_secs + 5);
    for line in ["DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "KillMode=mixed"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn the_example_environment_is_understood() {
    let mut env = Vec::new();
    for line in text(".env.example").lines() {
        let assignment = line.trim_start_matches("# ");
        if let Some((name, value)) = assignment.split_once('=')
            && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            && name != "AGENT_RUNNER_CONFIG"
        {
            let value = if value.is_empty() { "x" } else { value };
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    let settings = settings(env);
    assert_eq!(settings.llm.base_url.as_deref(), Some("http://127.0.0.1:11434/v1"));
    assert_eq!(settings.orchestrator.api_url.as_deref(), Some("http://127.0.0.1:8081"));
    assert!(settings.http.token.is_some() && settings.llm.api_key.is_some());
    assert_eq!(settings.http.bind, "127.0.0.1:8082");
}

#[test]
fn every_crate_comes_from_the_registry_and_is_known_by_its_hash() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = text(lock);
        let mut crates = 0;
        for package in text.split("[[package]]").skip(1) {
            let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
            match package.lines().find_map(|line| line.strip_prefix("source = ")) {
                Some(source) => {
                    assert!(source.starts_with("\"registry+"), "{lock}: {name} comes from {source}");
                    assert!(package.contains("\nchecksum = \""), "{lock}: {name} has no checksum");
                    crates += 1;
                }
                None => assert!(name.starts_with("\"agent-runner"), "{lock}: {name} has no source"),
            }
        }
        assert!(crates > 100, "{lock}: {crates}");
    }
}

#[test]
fn every_proof_that_the_threat_model_names_is_a_test() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => sources.push_str(&fs::read_to_string(path).unwrap()),
                _ => {}
            }
        }
    }
    let model = text("SECURITY.md");
    let name = Regex::new(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`").unwrap();
    let named: BTreeSet<&str> = name.captures_iter(&model).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
